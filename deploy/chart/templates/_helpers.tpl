{{/* What objects' names begin with. */}}
{{- define "configmapsync.prefix" -}}
{{- .Values.fullnameOverride | default "configmapsync" | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* The name of the Deployment and of what belongs to it. */}}
{{- define "configmapsync.manager" -}}
{{ include "configmapsync.prefix" . }}-controller-manager
{{- end }}

{{- define "configmapsync.name" -}}
{{- .Values.nameOverride | default "configmapsync" | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "configmapsync.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "configmapsync.manager" .) -}}
{{- end }}

{{/* What Services, monitors and policies select Pods by. The Deployment itself selects by the first alone, as that of the
     operator's first edition did: a selector can never be changed. */}}
{{- define "configmapsync.podLabels" -}}
control-plane: controller-manager
app.kubernetes.io/name: {{ include "configmapsync.name" . }}
{{- end }}

{{/* Labels of an object. Argument: (list . {more labels}). Ours win over commonLabels. */}}
{{- define "configmapsync.labels" -}}
{{- $ := index . 0 -}}
{{- $own := dict
  "app.kubernetes.io/name" (include "configmapsync.name" $)
  "app.kubernetes.io/part-of" "configmapsync"
  "app.kubernetes.io/instance" $.Release.Name
  "app.kubernetes.io/version" $.Chart.AppVersion
  "app.kubernetes.io/managed-by" $.Release.Service
  "helm.sh/chart" (printf "%s-%s" $.Chart.Name ($.Chart.Version | replace "+" "_")) -}}
{{- merge $own (index . 1) $.Values.commonLabels | toYaml -}}
{{- end }}

{{/* Metadata of an object of the release's namespace, or of `namespace`. Argument: (list . NAME {more labels} [namespace]). */}}
{{- define "configmapsync.metadata" -}}
{{- $ := index . 0 -}}
name: {{ index . 1 }}
namespace: {{ (len . | lt 3 | ternary (last .) "") | default $.Release.Namespace }}
labels:
  {{- include "configmapsync.labels" (list $ (index . 2)) | nindent 2 }}
{{- end }}

{{/* The same for an object of the cluster. */}}
{{- define "configmapsync.clusterMetadata" -}}
name: {{ index . 1 }}
labels:
  {{- include "configmapsync.labels" (list (index . 0) (index . 2)) | nindent 2 }}
{{- end }}

{{/* How a monitor scrapes. Argument: the monitor's values. */}}
{{- define "configmapsync.endpoint" -}}
port: metrics
path: /metrics
interval: {{ .interval }}
scrapeTimeout: {{ .scrapeTimeout }}
honorLabels: {{ .honorLabels }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The ServiceAccount as the subject of a binding. */}}
{{- define "configmapsync.subjects" -}}
- kind: ServiceAccount
  name: {{ include "configmapsync.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/* What the policies for authors do. In YAML an Off without quotes is false. */}}
{{- define "configmapsync.authorPolicy" -}}
{{- eq (toString .Values.authorPolicy.mode) "false" | ternary "Off" .Values.authorPolicy.mode }}
{{- end }}
