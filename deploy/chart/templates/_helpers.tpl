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

{{/* The agent's resources: what it preloads comes on top of its memory limit. */}}
{{- define "warmset.agentResources" -}}
{{- $resources := deepCopy .Values.node.resources.agent -}}
{{- $limit := dig "limits" "memory" "" $resources | toString -}}
{{- $preload := int64 .Values.node.limits.preloadBytes -}}
{{- if and $preload $limit -}}
{{- $units := dict "" 1 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "k" 1000 "M" 1000000 "G" 1000000000 -}}
{{- if not (regexMatch "^[0-9]+(Ki|Mi|Gi|k|M|G)?$" $limit) -}}
{{- fail (printf "node.resources.agent.limits.memory: write %q in whole Mi or Gi, so that preloadBytes can be added" $limit) -}}
{{- end -}}
{{- $bytes := mul (regexFind "^[0-9]+" $limit) (get $units (regexFind "[A-Za-z]*$" $limit)) -}}
{{- $_ := set $resources.limits "memory" (add $bytes $preload | toString) -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end }}
