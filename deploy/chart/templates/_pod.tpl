{{/* What all pods have in common: nobody's rights. */}}
{{- define "strongroom.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false # a Service named "metrics" would set METRICS_PORT
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "strongroom.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  runAsUser: 10001
  capabilities:
    drop: [ALL]
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "strongroom.placement" -}}
{{- with .Values.workload.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.workload.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.workload.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where a container of the service's image finds its settings, from the same ConfigMap for all. The
last source wins, so what the chart derives stands. */}}
{{- define "strongroom.environment" -}}
envFrom:
  {{- with .Values.extraEnvFrom }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  - configMapRef:
      name: {{ include "strongroom.configName" . }}
{{- with .Values.extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "strongroom.hasCa" -}}
{{- if or .Values.caBundle.secret .Values.caBundle.configMap }}true{{ end -}}
{{- end }}

{{- define "strongroom.caVolume" -}}
- name: ca
  {{- if .Values.caBundle.secret }}
  secret:
    secretName: {{ .Values.caBundle.secret }}
    items: [{key: {{ .Values.caBundle.key }}, path: ca.crt}]
  {{- else }}
  configMap:
    name: {{ .Values.caBundle.configMap }}
    items: [{key: {{ .Values.caBundle.key }}, path: ca.crt}]
  {{- end }}
{{- end }}

{{- define "strongroom.caMount" -}}
- name: ca
  mountPath: /etc/strongroom
  readOnly: true
{{- end }}

{{/* The pod of the service, for a Deployment and a Rollout alike. It changes with what it runs and how,
never with the chart's version: an upgrade of the chart alone restarts nothing. */}}
{{- define "strongroom.podTemplate" -}}
{{- $timing := include "strongroom.timing" . | fromYaml -}}
metadata:
  labels:
    {{- include "strongroom.selector" (list . "service") | nindent 4 }}
  {{- with .Values.workload.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "strongroom.serviceAccountName" . }}
  terminationGracePeriodSeconds: {{ $timing.terminationGracePeriod }}
  {{- include "strongroom.podSecurity" . | nindent 2 }}
  {{- with include "strongroom.placement" . }}
  {{- . | nindent 2 }}
  {{- end }}
  topologySpreadConstraints:
    {{- $hash := ternary "rollouts-pod-template-hash" "pod-template-hash" (eq .Values.workload.kind "Rollout") }}
    {{- range $key, $unsatisfiable := dict "topology.kubernetes.io/zone" .Values.workload.spread.zones "kubernetes.io/hostname" .Values.workload.spread.nodes }}
    - topologyKey: {{ $key }}
      maxSkew: 1
      whenUnsatisfiable: {{ $unsatisfiable }}
      nodeTaintsPolicy: Honor # else a tainted node counts as an empty one, and no pod fits any more
      labelSelector:
        matchLabels:
          {{- include "strongroom.selector" (list $ "service") | nindent 10 }}
      matchLabelKeys: [{{ $hash }}] # each version by itself
    {{- end }}
  containers:
    - name: service
      image: {{ include "strongroom.image" .Values.image | quote }}
      imagePullPolicy: IfNotPresent
      args: [serve]
      {{- include "strongroom.environment" . | nindent 6 }}
      ports:
        - name: http
          containerPort: {{ .Values.service.port }}
          protocol: TCP # part of the list's key: given by the server, Argo CD would see drift for ever
        - name: metrics
          containerPort: {{ .Values.metrics.port }}
          protocol: TCP
      startupProbe:
        httpGet: {path: /livez, port: http}
        periodSeconds: 1
        timeoutSeconds: 2
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /livez, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      lifecycle:
        preStop:
          sleep:
            seconds: {{ $timing.preStop }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      {{- include "strongroom.containerSecurity" . | nindent 6 }}
      {{- if include "strongroom.hasCa" . }}
      volumeMounts:
        {{- include "strongroom.caMount" . | nindent 8 }}
      {{- end }}
  {{- if include "strongroom.hasCa" . }}
  volumes:
    {{- include "strongroom.caVolume" . | nindent 4 }}
  {{- end }}
{{- end }}
