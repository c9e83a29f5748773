// Package migrations has what takes over from former systems, a folder for each. What they left is turned into commands
// by a pure plan, which is printed before it is carried out; what cannot be taken over is left alone and named.
package migrations
