{{/* What values.schema.json cannot say: one value beside another. */}}
{{- define "strongroom.validate" -}}
{{- $_ := include "strongroom.timing" . -}}
{{- if not (and .Values.aws.table .Values.aws.bucket) -}}
{{- fail "aws.table and aws.bucket are required: the service's table and bucket. The values file of an environment gives them, such as -f deploy/chart/values-dev.yaml" -}}
{{- end -}}
{{- $image := .Values.image -}}
{{- if not (or $image.digest $image.tag) -}}
{{- fail (printf "image.digest is not set: nothing has been released to %s yet. scripts/promote writes it, or give --set image.digest=sha256:..." .Values.environment) -}}
{{- end -}}
{{- if and .Values.caBundle.secret .Values.caBundle.configMap -}}
{{- fail "caBundle: either a secret or a configMap" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail (printf "autoscaling.minReplicas (%d) exceeds autoscaling.maxReplicas (%d)" (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- if and (eq (toString .Values.workload.maxSurge | trimSuffix "%") "0") (eq (toString .Values.workload.maxUnavailable | trimSuffix "%") "0") -}}
{{- fail "workload.maxSurge and workload.maxUnavailable are both 0: nothing could ever be replaced" -}}
{{- end -}}
{{- if and .Values.service.nodePort (ne .Values.service.type "NodePort") -}}
{{- fail "service.nodePort needs service.type=NodePort" -}}
{{- end -}}
{{- if eq (int .Values.service.port) (int .Values.metrics.port) -}}
{{- fail "service.port and metrics.port are the same: /metrics would be served to clients" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- fail "ingress.host is required with ingress.enabled" -}}
{{- end -}}
{{- if and .Values.ingress.enabled .Values.networkPolicy.enabled (not .Values.networkPolicy.ingress.albCidrs) -}}
{{- fail "networkPolicy.ingress.albCidrs is empty: the load balancer would reach no pod" -}}
{{- end -}}
{{- if and (include "strongroom.isAlbCanary" .) (not .Values.ingress.enabled) -}}
{{- fail "canary.router=alb needs ingress.enabled=true; canary.router=none rolls without a load balancer" -}}
{{- end -}}
{{- if eq .Values.workload.kind "Rollout" -}}
{{- if le (int .Values.workload.revisionHistoryLimit) (int .Values.workload.rollbackWindow) -}}
{{- fail (printf "workload.revisionHistoryLimit (%d) must exceed workload.rollbackWindow (%d): else what one would go back to is gone" (int .Values.workload.revisionHistoryLimit) (int .Values.workload.rollbackWindow)) -}}
{{- end -}}
{{- end -}}
{{- if include "strongroom.isCanary" . -}}
{{- $before := 0 -}}
{{- range .Values.canary.steps -}}
{{- if le (int .weight) $before -}}
{{- fail (printf "canary.steps: a weight of %d after %d; they must rise" (int .weight) $before) -}}
{{- end -}}
{{- $before = int .weight -}}
{{- end -}}
{{- end -}}
{{- if le (int .Values.workload.progressDeadlineSeconds) (int .Values.workload.minReadySeconds) -}}
{{- fail "workload.progressDeadlineSeconds must exceed workload.minReadySeconds" -}}
{{- end -}}
{{- if include "strongroom.isAnalysed" . -}}
{{- $analysis := .Values.analysis -}}
{{- $scrape := int .Values.metrics.serviceMonitor.intervalSeconds -}}
{{- if not $analysis.smoke.apiKeySecret.name -}}
{{- fail "analysis.smoke.apiKeySecret.name is required with analysis.enabled: the Secret with the API key that the smoke load uses" -}}
{{- end -}}
{{- if lt (int $analysis.smoke.seconds) (mul 4 $scrape | int) -}}
{{- fail (printf "analysis.smoke.seconds (%d) must cover four scrapes (4 x %d s): else there is no rate to judge" (int $analysis.smoke.seconds) $scrape) -}}
{{- end -}}
{{- if lt (int $analysis.delaySeconds) (mul 2 $scrape | int) -}}
{{- fail (printf "analysis.delaySeconds (%d) must cover two scrapes (2 x %d s): else the load's end is not seen" (int $analysis.delaySeconds) $scrape) -}}
{{- end -}}
{{- $last := add (int $analysis.delaySeconds) (mul (int $analysis.intervalSeconds) (sub (int $analysis.count) 1)) (mul 2 $scrape) | int -}}
{{- if eq .Values.strategy "blueGreen" -}}
{{- $last = add $last (include "strongroom.smokeStartSeconds" .) | int -}}
{{- end -}}
{{- if lt (int $analysis.windowSeconds) $last -}}
{{- fail (printf "analysis.windowSeconds (%d) must reach from the last look back to the load (%d s): else an idle environment is never promoted" (int $analysis.windowSeconds) $last) -}}
{{- end -}}
{{- end -}}
{{- if ge (mulf 14.4 (subf 1.0 .Values.slo.availability.target)) 1.0 -}}
{{- fail (printf "slo.availability.target (%v): at 14.4 times its error budget everything fails, so its fastest alert could never fire" .Values.slo.availability.target) -}}
{{- end -}}
{{- if ge (mulf 14.4 (subf 1.0 .Values.slo.latency.target)) 1.0 -}}
{{- fail (printf "slo.latency.target (%v): at 14.4 times its error budget everything is slow, so its fastest alert could never fire" .Values.slo.latency.target) -}}
{{- end -}}
{{- if .Values.loadTest.enabled -}}
{{- if not (or .Values.loadTest.image.digest .Values.loadTest.image.tag) -}}
{{- fail "loadTest.image.digest is not set" -}}
{{- end -}}
{{- if not .Values.loadTest.apiKeySecret.name -}}
{{- fail "loadTest.apiKeySecret.name is required with loadTest.enabled" -}}
{{- end -}}
{{- end -}}
{{- end }}
