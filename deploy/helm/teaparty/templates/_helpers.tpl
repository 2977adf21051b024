{{/* The beginning of all names. */}}
{{- define "teaparty.name" -}}
{{- if contains "teaparty" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-teaparty" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* Takes (list CONTEXT COMPONENT). */}}
{{- define "teaparty.selector" -}}
app.kubernetes.io/name: teaparty
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "teaparty.labels" -}}
{{ include "teaparty.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version }}
{{- end }}

{{- define "teaparty.image" -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}

{{/* The head of a configuration: what the chart decides. Takes (list CONTEXT PORT). */}}
{{- define "teaparty.settings" -}}
{{- $context := index . 0 }}{{ $values := $context.Values -}}
api = "{{ $values.metrics.enabled | ternary $values.metrics.listen "127.0.0.1" }}:{{ index . 1 }}"
{{- if $values.metrics.enabled }}
api-token-file = "/run/teaparty/keys/api-token"
{{- end }}
{{- if $values.keys.existingSecret }}
{{- if $values.keys.authKey }}
auth-key-file = "credential:auth-key"
{{- end }}
{{- if $values.keys.tlvKey }}
tlv-key-file = "credential:tlv-key"
{{- end }}
{{- end }}
{{- end }}

{{/* True where a pod has secrets. */}}
{{- define "teaparty.hasSecrets" -}}
{{- if or .Values.metrics.enabled .Values.keys.existingSecret }}true{{ end }}
{{- end }}

{{/* All secrets of a pod in one folder, which CREDENTIALS_DIRECTORY names: there, as under systemd, a secret may be readable
     for its group. */}}
{{- define "teaparty.secrets" -}}
- name: keys
  projected:
    defaultMode: 0440
    sources:
      {{- if .Values.metrics.enabled }}
      - secret:
          name: {{ .Values.metrics.tokenSecret }}
          items:
            - key: {{ .Values.metrics.tokenKey }}
              path: api-token
      {{- end }}
      {{- if .Values.keys.existingSecret }}
      - secret:
          name: {{ .Values.keys.existingSecret }}
          items:
            {{- with .Values.keys.authKey }}
            - key: {{ . }}
              path: auth-key
            {{- end }}
            {{- with .Values.keys.tlvKey }}
            - key: {{ . }}
              path: tlv-key
            {{- end }}
      {{- end }}
{{- end }}

{{/* The three probes of the kubelet, which asks in the node's network. Takes (list PORT FAILURES). */}}
{{- define "teaparty.health" -}}
startupProbe:
  httpGet:
    host: 127.0.0.1
    port: {{ index . 0 }}
    path: /livez
  periodSeconds: 2
  failureThreshold: {{ index . 1 }}
readinessProbe:
  httpGet:
    host: 127.0.0.1
    port: {{ index . 0 }}
    path: /readyz
  periodSeconds: 5
  timeoutSeconds: 2
livenessProbe:
  httpGet:
    host: 127.0.0.1
    port: {{ index . 0 }}
    path: /livez
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}

{{/* Where pods run. Takes the component's values. */}}
{{- define "teaparty.placement" -}}
nodeSelector:
  kubernetes.io/os: linux
  {{- with .nodeSelector }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}
