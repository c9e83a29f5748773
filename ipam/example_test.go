package ipam_test

import (
	"fmt"

	"galaxy/ipam"
)

// What is right comes back in one form, whatever way it was written.
func ExampleParseConfig() {
	subnets, err := ipam.ParseConfig([]byte(`[{
		"nodeSubnets": ["10.0.1.5/24"],
		"subnet": "10.0.70.0/24", "gateway": "10.0.70.1", "vlan": 2,
		"ips": ["10.0.70.6~10.0.70.9", "10.0.70.2~10.0.70.5"]
	}]`))
	if err != nil {
		fmt.Println(err)
	}
	for _, s := range subnets {
		fmt.Println(s.NodeNetworks, s.Prefix, s.Gateway, s.VLAN, s.Ranges, s.Len())
	}
	// Output:
	// [10.0.1.0/24] 10.0.70.0/24 10.0.70.1 2 [10.0.70.2~10.0.70.9] 8
}

// All errors are reported at once, each with its entry, field and value.
func ExampleParseConfig_errors() {
	_, err := ipam.ParseConfig([]byte(`[{
		"nodeSubnets": ["10.0.1.0/24"],
		"subnet": "10.0.70.0/24", "gateway": "10.0.70.1",
		"ips": ["10.0.70.1~10.0.70.9", "10.0.71.2"]
	}]`))
	fmt.Println(err)
	// Output:
	// floatingips[0].ips[0]: "10.0.70.1~10.0.70.9" contains the gateway 10.0.70.1; leave it out, as in 10.0.70.2~10.0.70.9
	// floatingips[0].ips[1]: "10.0.71.2" lies outside the subnet 10.0.70.0/24
}

// Whom an address is held for has three levels, and a text form that users know from FloatingIP objects.
func ExampleOwner() {
	pod := ipam.Owner{Kind: ipam.KindStatefulSet, Namespace: "shop", App: "db", Pod: "db-0", Pool: "blue"}
	fmt.Println(pod)
	fmt.Println(pod.AppLevel())
	fmt.Println(pod.Scope(), "covers the pod:", pod.Scope().Covers(pod))

	back, err := ipam.ParseOwner("dp_shop_web_web-6d4cf56db6-4xk2p")
	fmt.Println(back.Describe(), "of", back.AppLevel().Describe(), err)

	// Output:
	// pool__blue_sts_shop_db_db-0
	// pool__blue_sts_shop_db_
	// pool__blue_ covers the pod: true
	// pod shop/web-6d4cf56db6-4xk2p of deployment shop/web <nil>
}
