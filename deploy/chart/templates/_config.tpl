{{/* All settings. Its digest is part of the ConfigMap's name, so each version of the pods keeps its own,
even if one restarts while the next version is being tried. */}}
{{- define "strongroom.config" -}}
{{- $timing := include "strongroom.timing" . | fromYaml -}}
{{- $data := dict
  "APP_ENV" .Values.environment
  "PORT" (include "strongroom.text" .Values.service.port)
  "METRICS_PORT" (include "strongroom.text" .Values.metrics.port)
  "AWS_REGION" .Values.aws.region
  "DYNAMODB_TABLE" .Values.aws.table
  "S3_BUCKET" .Values.aws.bucket
  "KEEP_ALIVE_SECONDS" (include "strongroom.text" $timing.keepAlive)
  "SHUTDOWN_GRACE_SECONDS" (include "strongroom.text" $timing.shutdownGrace)
  "DRAIN_SECONDS" (include "strongroom.text" $timing.drain)
-}}
{{- range $name, $value := dict
  "AWS_ENDPOINT_URL" .Values.aws.endpoints.all
  "AWS_ENDPOINT_URL_DYNAMODB" .Values.aws.endpoints.dynamodb
  "AWS_ENDPOINT_URL_S3" .Values.aws.endpoints.s3
  "HTTPS_PROXY" .Values.proxy.https
  "HTTP_PROXY" .Values.proxy.http
  "NO_PROXY" .Values.proxy.exceptions
-}}
{{- if $value }}{{ $_ := set $data $name $value }}{{ end -}}
{{- end -}}
{{- if include "strongroom.hasCa" . }}{{ $_ := set $data "AWS_CA_BUNDLE" "/etc/strongroom/ca.crt" }}{{ end -}}
{{- range $name, $value := .Values.config -}}
{{- $_ := set $data $name (include "strongroom.text" $value) -}}
{{- end -}}
{{- toYaml $data -}}
{{- end }}

{{- define "strongroom.configName" -}}
{{- include "strongroom.fullname" . }}-config-{{ include "strongroom.config" . | sha256sum | trunc 8 -}}
{{- end }}

{{- define "strongroom.smokeName" -}}
{{- include "strongroom.fullname" . }}-smoke-{{ .Files.Get "files/smoke.py" | sha256sum | trunc 8 -}}
{{- end }}
