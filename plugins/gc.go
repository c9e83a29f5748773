package plugins

import (
	"encoding/json"

	"github.com/containernetworking/cni/pkg/types"
)

// ValidAttachments are those that a GC spares (CNI specification 1.1, GC). A configuration without the list is an
// error: without it nobody would be spared. null is how the CNI project's library says that there are none.
func ValidAttachments(conf []byte) ([]types.GCAttachment, error) {
	var keys struct {
		Valid json.RawMessage `json:"cni.dev/valid-attachments"`
	}
	if err := json.Unmarshal(conf, &keys); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "the configuration of the network is not JSON",
			err.Error())
	}
	if keys.Valid == nil {
		return nil, types.NewError(types.ErrInvalidNetworkConfig, "GC needs the list cni.dev/valid-attachments",
			"without it nobody would be spared")
	}
	var valid []types.GCAttachment
	if err := json.Unmarshal(keys.Valid, &valid); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "cni.dev/valid-attachments is no list of attachments",
			err.Error())
	}
	return valid, nil
}
