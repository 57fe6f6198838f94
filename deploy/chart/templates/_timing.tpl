{{/* The times of stopping softly, as one set. In order of time, after a pod is told to go:

  preStop                 it goes on as if nothing were; whoever sends it requests learns
  SHUTDOWN_GRACE_SECONDS  it tells each connection that is used to close; idle ones are kept
  DRAIN_SECONDS           it takes nothing new; what is in flight finishes
  15 s                    commits whose clients have gone finish (docs/operating.md, Stopping)

terminationGracePeriodSeconds covers all of it. The load balancer deregisters the pod at the same
moment, and cuts what is in flight after the deregistration delay. KEEP_ALIVE_SECONDS exceeds the
load balancer's idle timeout, so that it is never the service that closes first. */}}
{{- define "strongroom.timing" -}}
{{- $timing := .Values.timing -}}
{{- $override := $timing.override -}}
{{- $commits := 15 -}}
{{- $propagation := int $timing.endpointPropagationSeconds -}}
{{- $longest := int $timing.longestRequestSeconds -}}
{{- $idle := int $timing.albIdleSeconds -}}
{{- $preStop := add $propagation 5 -}}
{{- if not (kindIs "invalid" $override.preStopSeconds) }}{{ $preStop = int $override.preStopSeconds }}{{ end -}}
{{- $grace := int $timing.idleConnectionSeconds -}}
{{- if not (kindIs "invalid" $override.shutdownGraceSeconds) }}{{ $grace = int $override.shutdownGraceSeconds }}{{ end -}}
{{- $drain := $longest -}}
{{- if not (kindIs "invalid" $override.drainSeconds) }}{{ $drain = int $override.drainSeconds }}{{ end -}}
{{- $keepAlive := add $idle 15 -}}
{{- if not (kindIs "invalid" $override.keepAliveSeconds) }}{{ $keepAlive = int $override.keepAliveSeconds }}{{ end -}}
{{- $whole := add $preStop $grace $drain $commits -}}
{{- $deregistration := add $preStop $grace $drain -}}
{{- if not (kindIs "invalid" $override.deregistrationDelaySeconds) }}{{ $deregistration = int $override.deregistrationDelaySeconds }}{{ end -}}
{{- $termination := add $whole 5 -}}
{{- if not (kindIs "invalid" $override.terminationGracePeriodSeconds) }}{{ $termination = int $override.terminationGracePeriodSeconds }}{{ end -}}
{{- $silence := add 60 (ceil (.Values.config.REQUEST_DEADLINE_SECONDS | default 10)) -}}

{{- if le (int $preStop) $propagation -}}
{{- fail (printf "timing: the preStop pause (%d s) must exceed endpointPropagationSeconds (%d s): else the pod stops while it is still sent requests" (int $preStop) $propagation) -}}
{{- end -}}
{{- if lt (int $drain) $longest -}}
{{- fail (printf "timing: DRAIN_SECONDS (%d s) must not be below longestRequestSeconds (%d s): else requests in flight are refused" (int $drain) $longest) -}}
{{- end -}}
{{- if le (int $termination) (int $whole) -}}
{{- fail (printf "timing: terminationGracePeriodSeconds (%d s) must exceed preStop, SHUTDOWN_GRACE_SECONDS, DRAIN_SECONDS and the %d s of last commits together (%d s): else the pod is killed while it drains" (int $termination) $commits (int $whole)) -}}
{{- end -}}
{{- if le (int $keepAlive) $idle -}}
{{- fail (printf "timing: KEEP_ALIVE_SECONDS (%d s) must exceed albIdleSeconds (%d s): else the load balancer sends requests into connections that the service is closing" (int $keepAlive) $idle) -}}
{{- end -}}
{{- if lt (int $deregistration) (add $propagation $longest | int) -}}
{{- fail (printf "timing: the deregistration delay (%d s) must not be below endpointPropagationSeconds and longestRequestSeconds together (%d s): else the load balancer cuts requests in flight" (int $deregistration) (add $propagation $longest | int)) -}}
{{- end -}}
{{- if lt $idle (int $silence) -}}
{{- fail (printf "timing: albIdleSeconds (%d s) must not be below %d s, for which the service may be silent (REQUEST_DEADLINE_SECONDS, and a minute for S3 to complete an upload): else the load balancer answers 504" $idle (int $silence)) -}}
{{- end -}}
preStop: {{ $preStop }}
shutdownGrace: {{ $grace }}
drain: {{ $drain }}
keepAlive: {{ $keepAlive }}
albIdle: {{ $idle }}
deregistrationDelay: {{ $deregistration }}
terminationGracePeriod: {{ $termination }}
{{- end }}
