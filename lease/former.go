package lease

import (
	"context"
	"encoding/json"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// EndFormer ends the lease of a leader that is known to be dead, so that nobody waits for its end. id is that of its
// life alone. It reports whether there was such a leader.
func EndFormer(ctx context.Context, client *clientv3.Client, key, id string) (bool, error) {
	now, err := client.Get(ctx, key)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", key, err)
	}
	var holder Holder
	if len(now.Kvs) == 0 || json.Unmarshal(now.Kvs[0].Value, &holder) != nil || holder.ID != id ||
		now.Kvs[0].Lease == 0 {
		return false, nil
	}
	if _, err := client.Revoke(ctx, clientv3.LeaseID(now.Kvs[0].Lease)); err != nil {
		return false, fmt.Errorf("end the lease of %s: %w", id, err)
	}
	return true, nil
}
