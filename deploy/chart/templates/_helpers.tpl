{{/* Room for the longest suffix (-load-master-xxxxxxxx) within 63 characters, and for a CronJob's
(-sweeper) within 52. What is cut off stays distinct by a digest. */}}
{{- define "strongroom.fullname" -}}
{{- $name := .Release.Name -}}
{{- if not (contains .Chart.Name $name) -}}
{{- $name = printf "%s-%s" $name .Chart.Name -}}
{{- end -}}
{{- if gt (len $name) 40 -}}
{{- $name = printf "%s-%s" (trunc 33 $name | trimSuffix "-") (sha256sum $name | trunc 6) -}}
{{- end -}}
{{- $name -}}
{{- end }}

{{- define "strongroom.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "strongroom.fullname" .) -}}
{{- end }}

{{/* What selects a component's pods. Part of selectors, which cannot be changed later: nothing that
an upgrade changes may come in here. Takes the context and the component. */}}
{{- define "strongroom.selector" -}}
{{- $context := index . 0 -}}
app.kubernetes.io/name: {{ $context.Chart.Name }}
app.kubernetes.io/instance: {{ $context.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "strongroom.labels" -}}
{{- $context := index . 0 -}}
helm.sh/chart: {{ printf "%s-%s" $context.Chart.Name $context.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ $context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $context.Release.Service }}
{{ include "strongroom.selector" . }}
{{- end }}

{{/* The opening lines of every manifest's metadata. Takes the context, a suffix and the component. */}}
{{- define "strongroom.metadata" -}}
{{- $context := index . 0 -}}
name: {{ include "strongroom.fullname" $context }}{{ index . 1 }}
namespace: {{ $context.Release.Namespace }}
labels:
  {{- include "strongroom.labels" (list $context (index . 2)) | nindent 2 }}
{{- end }}

{{/* An image by digest; by tag only where the schema has let one through. */}}
{{- define "strongroom.image" -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag }}
{{- end -}}
{{- end }}

{{- define "strongroom.isCanary" -}}
{{- if and (eq .Values.workload.kind "Rollout") (eq .Values.strategy "canary") }}true{{ end -}}
{{- end }}

{{- define "strongroom.isBlueGreen" -}}
{{- if and (eq .Values.workload.kind "Rollout") (eq .Values.strategy "blueGreen") }}true{{ end -}}
{{- end }}

{{- define "strongroom.isAlbCanary" -}}
{{- if and (include "strongroom.isCanary" .) (eq .Values.canary.router "alb") }}true{{ end -}}
{{- end }}

{{- define "strongroom.isAnalysed" -}}
{{- if and (eq .Values.workload.kind "Rollout") .Values.analysis.enabled }}true{{ end -}}
{{- end }}

{{/* The Service that leads to the new version alone. */}}
{{- define "strongroom.newVersionService" -}}
{{- include "strongroom.fullname" . }}-{{ if include "strongroom.isBlueGreen" . }}preview{{ else }}canary{{ end -}}
{{- end }}

{{- define "strongroom.url" -}}
http://{{ include "strongroom.fullname" . }}.{{ .Release.Namespace }}.svc:{{ .Values.service.port }}
{{- end }}

{{/* A value as the environment has it: Helm reads 5368709120 as 5.36870912e+09. */}}
{{- define "strongroom.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) -}}
{{ printf "%d" (int64 .) }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end }}

{{/* Prometheus's and the service's way to write a histogram's bound: 1.0, 0.5. */}}
{{- define "strongroom.bound" -}}
{{- $text := toString . -}}
{{ $text }}{{ if not (contains "." $text) }}.0{{ end }}
{{- end }}
