{{/* The service level indicators, defined once: of all requests that matter, the share that failed, and
of those that did not, the share that was slow. Takes a dict: the context, `window`, and, for
the analysis, `hash`: the version's rollouts_pod_template_hash. A sum over all versions would hide
a failing one that gets a twentieth of the requests. */}}
{{- define "strongroom.sli.where" -}}
namespace="{{ .context.Release.Namespace }}",route=~"/v1/.*|/s/.*"{{ with .hash }},rollouts_pod_template_hash="{{ . }}"{{ end }}
{{- end }}

{{- define "strongroom.sli.errors" -}}
{{- $where := include "strongroom.sli.where" . -}}
{{- $by := ternary "by (rollouts_pod_template_hash) " "" (hasKey . "hash") -}}
{{- $all := printf "sum %s(rate(strongroom_requests_total{%s}[%s]))" $by $where .window -}}
{{- $failed := printf "sum %s(rate(strongroom_requests_total{%s,status=\"5xx\"}[%s]))" $by $where .window -}}
((
  {{ $failed }}
  or 0 * {{ $all }}
) / {{ $all }})
{{- end }}

{{- define "strongroom.sli.slow" -}}
{{- $where := include "strongroom.sli.where" . -}}
{{- $by := ternary "by (rollouts_pod_template_hash) " "" (hasKey . "hash") -}}
{{- $bound := include "strongroom.bound" .context.Values.slo.latency.thresholdSeconds -}}
(1 -
  sum {{ $by }}(rate(strongroom_request_duration_seconds_bucket{ {{- $where }},status!="5xx",le="{{ $bound }}"}[{{ .window }}]))
  / sum {{ $by }}(rate(strongroom_request_duration_seconds_count{ {{- $where }},status!="5xx"}[{{ .window }}]))
)
{{- end }}

{{/* By how much the new version is worse than the stable one in the same window. A stable version that
had no requests counts as faultless. */}}
{{- define "strongroom.sli.aboveStable" -}}
{{- $new := include (printf "strongroom.sli.%s" .sli) (dict "context" .context "window" .window "hash" "{{args.canary-hash}}") -}}
{{- $stable := include (printf "strongroom.sli.%s" .sli) (dict "context" .context "window" .window "hash" "{{args.stable-hash}}") -}}
{{ $new }}
- on()
(({{ $stable }} >= 0) or on() vector(0))
{{- end }}
