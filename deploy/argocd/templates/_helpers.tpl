{{/* The entries that this cluster manages, as JSON. An unknown name is refused: it would prune all. */}}
{{- define "environments.managed" -}}
{{- $managed := list -}}
{{- range .Values.environments -}}
{{- if or (not $.Values.only) (eq $.Values.only .name) -}}
{{- $managed = append $managed . -}}
{{- end -}}
{{- end -}}
{{- if not $managed -}}
{{- $names := list -}}
{{- range .Values.environments -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- fail (printf "only: %q is none of the environments: %s" .Values.only (join ", " $names)) -}}
{{- end -}}
{{- toJson $managed -}}
{{- end -}}
