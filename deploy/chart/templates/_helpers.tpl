{{/*
Names are fixed, not made from the release's: the CSI driver, the CRDs and the agents' identity exist once a
cluster, and the webhook configuration must sort after those of lws, kueue and jobset.
*/}}

{{- define "warmset.labels" -}}
app.kubernetes.io/name: warmset
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "warmset.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "warmset.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "warmset.unprivileged" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* The uid of the image's user, deploy/Dockerfile. */}}
{{- define "warmset.uid" -}}
65532
{{- end }}
