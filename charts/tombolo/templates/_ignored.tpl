{{/*
Keys of Cilium's chart that would change what the cluster does, and that this version does not act on: one line for each that is switched on.
A key counts as off when it is absent, one of the words below, or what is so anyway.
*/}}
{{- define "tombolo.ignored" -}}
{{- $off := list "" "false" "disabled" "none" "0" "default" "snat" "/sys/fs/bpf" "/sys/fs/cgroup" }}
{{- $subjects := dict
  "this part of service load balancing" (list
    "kubeProxyReplacementHealthzBindAddr" "loadBalancer.acceleration" "loadBalancer.mode" "loadBalancer.dsrDispatch"
    "loadBalancer.serviceTopology" "loadBalancer.l7.backend" "serviceNoBackendResponse" "nodePort.addresses"
    "nodePort.enableHealthCheckLoadBalancerIP" "hostPort.enabled" "bpf.masquerade" "sessionAffinity")
  "sizes of maps, which follow the node's memory" (list "bpf.lbMapMax" "bpf.mapDynamicSizeRatio")
  "file systems elsewhere than below /sys/fs" (list "bpf.root" "cgroup.hostRoot")
  "announcement on the local network" (list "l2podAnnouncements.enabled")
  "addresses of nodes for Services" (list "nodeIPAM.enabled")
  "Services without a class otherwise than defaultLBServiceIPAM says" (list "LBIPAM.requireLBClass" "lbIPAM.requireLBClass")
  "announcement of Service addresses" (list "bgpControlPlane.legacyOriginAttribute.enabled")
  "flow observability" (list "hubble.enabled" "hubble.relay.enabled" "hubble.ui.enabled" "hubble.metrics.enabled")
  "the pod network, which stays with your CNI" (list
    "routingMode" "tunnelProtocol" "tunnel" "autoDirectNodeRoutes" "ipv4NativeRoutingCIDR" "ipv6NativeRoutingCIDR" "ipam.mode"
    "cni.exclusive" "cni.chainingMode" "endpointRoutes.enabled" "encryption.enabled" "hostFirewall.enabled" "bandwidthManager.enabled"
    "egressGateway.enabled" "policyEnforcementMode" "clustermesh.useAPIServer")
  "layer 7" (list "gatewayAPI.enabled" "ingressController.enabled" "envoy.enabled" "l7Proxy")
  "privileges beside tombolo.profile" (list "securityContext.privileged" "securityContext.capabilities.ciliumAgent")
}}
{{- if ne (toString .Values.kubeProxyReplacement) "true" }}
{{- $_ := set $subjects "Services without kubeProxyReplacement" (list "nodePort.enabled" "externalIPs.enabled" "socketLB.enabled") }}
{{- end }}
{{- range $subject, $paths := $subjects }}
{{- range $path := $paths }}
{{- $value := $.Values }}
{{- range $step := splitList "." $path }}
{{- if kindIs "map" $value }}{{ $value = get $value $step }}{{ else }}{{ $value = "" }}{{ end }}
{{- end }}
{{- if and (not (empty $value)) (not (has ($value | toString) $off)) }}
{{ $path }} is set and has no effect: this version does nothing about {{ $subject }}.
{{- end }}
{{- end }}
{{- end }}
{{- end }}
