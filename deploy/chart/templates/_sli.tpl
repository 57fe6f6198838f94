{{/* The service level indicators, defined once: of all requests that matter, the share that failed, and
of those that did not, the share that was slow. Takes a dict: the context, the window's `seconds`,
and, for the analysis, `hash`: the version's rollouts_pod_template_hash. A sum over all versions
would hide a failing one that gets a twentieth of the requests. */}}
{{- define "strongroom.sli.errors" -}}
{{- $all := include "strongroom.sli.count" (dict "sli" . "metric" "strongroom_requests_total") -}}
{{- $failed := include "strongroom.sli.count" (dict "sli" . "metric" "strongroom_requests_total" "where" ",status=\"5xx\"") -}}
((
  {{- $failed | nindent 2 }}
  or
  0 * {{ $all | indent 2 | trim }}
) / {{ $all | indent 2 | trim }})
{{- end }}

{{- define "strongroom.sli.slow" -}}
{{- $bound := include "strongroom.bound" .context.Values.slo.latency.thresholdSeconds -}}
{{- $quick := include "strongroom.sli.count" (dict "sli" . "metric" "strongroom_request_duration_seconds_bucket" "where" (printf ",status!=\"5xx\",le=\"%s\"" $bound)) -}}
{{- $all := include "strongroom.sli.count" (dict "sli" . "metric" "strongroom_request_duration_seconds_count" "where" ",status!=\"5xx\"") -}}
(1 -
  {{- $quick | nindent 2 }}
  /
  {{- $all | nindent 2 }}
)
{{- end }}

{{/* Requests per second. A series begins with its first request, which rate() does not see: of a new
version that fails now and then, on one path after the other, it would see nothing. So what a series
that did not exist before the window began with is added. */}}
{{- define "strongroom.sli.count" -}}
{{- $window := printf "%ds" (int .sli.seconds) -}}
{{- $series := printf "%s{%s%s}" .metric (include "strongroom.sli.where" .sli) (.where | default "") -}}
{{- $rate := printf "rate(%s[%s])" $series $window -}}
{{- $first := printf "(min_over_time(%s[%s]) unless %s offset %s) / %d" $series $window $series $window (int .sli.seconds) -}}
sum {{ ternary "by (rollouts_pod_template_hash) " "" (hasKey .sli "hash") }}(
  {{ $rate }} + {{ $first }}
  or {{ $rate }}
  or {{ $first }}
)
{{- end }}

{{- define "strongroom.sli.where" -}}
namespace="{{ .context.Release.Namespace }}",route=~"/v1/.*|/s/.*"{{ with .hash }},rollouts_pod_template_hash="{{ . }}"{{ end }}
{{- end }}

{{/* By how much the new version is worse than the stable one in the same window. A stable version that
had no requests counts as faultless. */}}
{{- define "strongroom.sli.aboveStable" -}}
{{- $new := include (printf "strongroom.sli.%s" .sli) (dict "context" .context "seconds" .seconds "hash" "{{args.canary-hash}}") -}}
{{- $stable := include (printf "strongroom.sli.%s" .sli) (dict "context" .context "seconds" .seconds "hash" "{{args.stable-hash}}") -}}
{{ $new }}
- on()
(({{ $stable }} >= 0) or on() vector(0))
{{- end }}

{{/* How long the smoke load's pod may take to start, where nothing else tells when it has ended. */}}
{{- define "strongroom.smokeStartSeconds" -}}30{{- end }}
