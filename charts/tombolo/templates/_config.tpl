{{/* What agent and operator are configured by: Cilium's keys, a file each. */}}
{{- define "tombolo.config" -}}
{{- $keys := dict
  "enable-bgp-control-plane" .Values.bgpControlPlane.enabled
  "enable-bgp-control-plane-status-report" .Values.bgpControlPlane.statusReport.enabled
  "bgp-router-id-allocation-mode" .Values.bgpControlPlane.routerIDAllocation.mode
  "bgp-router-id-allocation-ip-pool" .Values.bgpControlPlane.routerIDAllocation.ipPool
  "bgp-secrets-namespace" .Values.bgpControlPlane.secretsNamespace.name
  "enable-lb-ipam" .Values.enableLBIPAM
  "default-lb-service-ipam" .Values.defaultLBServiceIPAM
  "enable-ipv4" .Values.ipv4.enabled
  "enable-ipv6" .Values.ipv6.enabled
  "enable-l2-announcements" .Values.l2announcements.enabled
  "kube-proxy-replacement" .Values.kubeProxyReplacement
  "bpf-lb-algorithm" .Values.loadBalancer.algorithm
  "bpf-lb-external-clusterip" .Values.bpf.lbExternalClusterIP
  "bpf-lb-sock-hostns-only" .Values.socketLB.hostNamespaceOnly
  "debug" .Values.debug.enabled
  "agent-health-port" .Values.healthPort
  "operator-api-serve-addr" (printf "%s:%v" (ternary "127.0.0.1" "" .Values.operator.hostNetwork) .Values.operator.healthPort)
}}
{{- $optional := dict
  "bpf-lb-maglev-table-size" .Values.maglev.tableSize
  "bpf-lb-maglev-hash-seed" .Values.maglev.hashSeed
  "node-port-range" .Values.nodePort.range
  "k8s-service-proxy-name" .Values.k8s.serviceProxyName
  "devices" (kindIs "slice" .Values.devices | ternary (join " " .Values.devices) (toString .Values.devices))
}}
{{- range $key, $value := $optional }}
{{- if $value }}
{{- $_ := set $keys $key $value }}
{{- end }}
{{- end }}
{{- if not (kindIs "invalid" .Values.socketLB.enabled) }}
{{- $_ := set $keys "bpf-lb-sock" .Values.socketLB.enabled }}
{{- end }}
{{- if .Values.prometheus.enabled }}
{{- $_ := set $keys "prometheus-serve-addr" (printf ":%v" .Values.prometheus.port) }}
{{- end }}
{{- if .Values.operator.prometheus.enabled }}
{{- $_ := set $keys "operator-prometheus-serve-addr" (printf ":%v" .Values.operator.prometheus.port) }}
{{- else }}
{{- /* As with Cilium, the operator listens unless it is told not to. */}}
{{- $_ := set $keys "operator-prometheus-serve-addr" "" }}
{{- end }}
{{- range $name, $value := .Values.k8sClientRateLimit.operator }}
{{- if $value }}
{{- $_ := set $keys (printf "operator-k8s-client-%s" $name) $value }}
{{- end }}
{{- end }}
{{- $keys = mergeOverwrite $keys .Values.extraConfig }}
{{- range $key, $value := $keys }}
{{ $key }}: {{ $value | toString | quote }}
{{- end }}
{{- end }}
