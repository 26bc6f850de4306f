{{/* Labels of every object; call with (dict "root" $ "component" "agent"). */}}
{{- define "tombolo.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{ include "tombolo.selector" . }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels that selectors use: they never change. */}}
{{- define "tombolo.selector" -}}
app.kubernetes.io/name: tombolo-{{ .component }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: tombolo
{{- end }}

{{/* Labels of pods: nothing that changes with the chart alone, so that an upgrade which changes nothing restarts nothing. */}}
{{- define "tombolo.podLabels" -}}
{{ include "tombolo.selector" . }}
{{- with mergeOverwrite (dict) .root.Values.commonLabels (.labels | default dict) }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Reference of an image; call with (dict "root" $ "image" .Values.operator.image). */}}
{{- define "tombolo.image" -}}
{{- $image := mergeOverwrite (deepCopy .root.Values.image) (.image | default dict) -}}
{{- if $image.override -}}
{{ $image.override }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .root.Chart.AppVersion }}
{{- if $image.useDigest }}@{{ required "image.digest is empty, and image.useDigest asks for it" $image.digest }}{{ end }}
{{- end -}}
{{- end }}

{{/* Pull policy; call as tombolo.image. */}}
{{- define "tombolo.pullPolicy" -}}
{{- (mergeOverwrite (deepCopy .root.Values.image) (.image | default dict)).pullPolicy -}}
{{- end }}

{{/* Environment of every container: who and where it is, and where the API server is if not behind its ClusterIP. */}}
{{- define "tombolo.env" -}}
- name: K8S_NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- if .Values.k8sServiceHostRef.name }}
- name: KUBERNETES_SERVICE_HOST
  valueFrom:
    configMapKeyRef:
      name: {{ .Values.k8sServiceHostRef.name }}
      key: {{ required "k8sServiceHostRef.key is empty" .Values.k8sServiceHostRef.key }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ .Values.k8sServicePort | default "6443" | quote }}
{{- else if eq .Values.k8sServiceHost "auto" }}
{{- $url := include "tombolo.clusterInfo" . | urlParse }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ get $url "host" | regexFind "^(\\[[^]]+\\]|[^:]+)" | trimAll "[]" | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ get $url "host" | regexFind "[0-9]+$" | default "443" | quote }}
{{- else if .Values.k8sServiceHost }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ .Values.k8sServiceHost | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ .Values.k8sServicePort | default "6443" | quote }}
{{- end }}
{{- end }}

{{/* URL of the API server as kubeadm publishes it. */}}
{{- define "tombolo.clusterInfo" -}}
{{- $info := lookup "v1" "ConfigMap" "kube-public" "cluster-info" -}}
{{- if not $info -}}
{{- fail "k8sServiceHost is auto, but this cluster has no ConfigMap kube-public/cluster-info: name the host" -}}
{{- end -}}
{{- (get (index (get (get $info "data" | default dict) "kubeconfig" | fromYaml) "clusters" | first) "cluster").server -}}
{{- end }}

{{/* A container without any privilege. */}}
{{- define "tombolo.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* A pod of an ordinary user. */}}
{{- define "tombolo.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* The agent's container: the capabilities of its profile and no other. */}}
{{- define "tombolo.agentContainerSecurity" -}}
{{- $capabilities := dict "advertise" (list) "routes" (list "NET_ADMIN") "full" (list "NET_ADMIN" "BPF" "PERFMON") -}}
{{ include "tombolo.containerSecurity" . }}
{{- with get $capabilities .Values.tombolo.profile }}
  add: {{ toJson . }}
{{- end }}
{{- end }}

{{/*
The agent's pod: an ordinary user where the profile has no capability. The kernel takes capabilities away from a program that starts as another user
than root, and Kubernetes has no way to say otherwise (no ambient capabilities).
*/}}
{{- define "tombolo.agentPodSecurity" -}}
{{- if eq .Values.tombolo.profile "advertise" -}}
{{ include "tombolo.podSecurity" . }}
{{- else -}}
runAsUser: 0
runAsGroup: 0
seccompProfile:
  type: RuntimeDefault
{{- end -}}
{{- end }}

{{/* Changes when the ConfigMap does. */}}
{{- define "tombolo.configChecksum" -}}
{{- include "tombolo.config" . | sha256sum -}}
{{- end }}

{{/* Service and ServiceMonitor; call with (dict "root" $ "component" "agent" "prometheus" .Values.prometheus). */}}
{{- define "tombolo.metrics" -}}
{{- $root := .root }}
{{- $monitor := .prometheus.serviceMonitor }}
apiVersion: v1
kind: Service
metadata:
  name: tombolo-{{ .component }}-metrics
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "tombolo.labels" . | nindent 4 }}
spec:
  clusterIP: None
  selector:
    {{- include "tombolo.selector" . | nindent 4 }}
  ports:
    - name: metrics
      port: {{ .prometheus.port }}
      targetPort: metrics
{{- if $monitor.enabled }}
{{- if not (or $monitor.trustCRDsExist ($root.Capabilities.APIVersions.Has "monitoring.coreos.com/v1")) }}
{{- fail "serviceMonitor.enabled, but the cluster has no ServiceMonitor kind: install the Prometheus operator's CRDs, or set trustCRDsExist" }}
{{- end }}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: tombolo-{{ .component }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "tombolo.labels" . | nindent 4 }}
    {{- with $monitor.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $monitor.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  selector:
    matchLabels:
      {{- include "tombolo.selector" . | nindent 6 }}
  endpoints:
    - port: metrics
      path: /metrics
      interval: {{ $monitor.interval }}
      {{- with $monitor.relabelings }}
      relabelings:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $monitor.metricRelabelings }}
      metricRelabelings:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}
{{- end }}
