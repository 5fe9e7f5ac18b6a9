{{- define "imdsgate.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* labels: {name, context} */}}
{{- define "imdsgate.selector" -}}
app.kubernetes.io/name: {{ .name }}
{{- end -}}

{{- define "imdsgate.labels" -}}
app.kubernetes.io/part-of: imdsgate
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* what the agent would refuse: values that do not go together */}}
{{- define "imdsgate.check" -}}
{{- $token := .Values.hostToken -}}
{{- $listed := or $token.serviceAccounts $token.cgroups -}}
{{- if and $token.port (not $listed) -}}
{{- fail "hostToken.port needs hostToken.serviceAccounts or hostToken.cgroups: every process of the node can connect there" -}}
{{- end -}}
{{- if and $listed (not $token.port) (not $token.socket) -}}
{{- fail "hostToken.serviceAccounts and hostToken.cgroups need hostToken.port or hostToken.socket" -}}
{{- end -}}
{{- $ports := list (int .Values.gatePort) -}}
{{- range list (int $token.port) (int .Values.metrics.port) -}}
{{- if has . $ports -}}
{{- fail "gatePort, hostToken.port and metrics.port must be different ports" -}}
{{- end -}}
{{- if . -}}
{{- $ports = append $ports . -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* the agent's flags, as a YAML list */}}
{{- define "imdsgate.args" -}}
{{- include "imdsgate.check" . -}}
- --kubernetes
- --node=$(NODE_NAME)
- --hold
{{- with .Values.policyNamespace | default .Release.Namespace }}
{{- if ne . "imdsgate-system" }}
- --policy-namespace={{ . }}
{{- end }}
{{- end }}
{{- if ne .Values.hostVerdict "pass" }}
- --host-verdict={{ .Values.hostVerdict }}
{{- end }}
{{- if .Values.allowCrossNamespace }}
- --allow-cross-namespace
{{- end }}
{{- if not .Values.aksException }}
- --no-aks-exception
{{- end }}
{{- if ne (int .Values.requestsPerSecond) 200 }}
- --requests-per-second={{ int .Values.requestsPerSecond }}
{{- end }}
{{- if .Values.auxiliaryTenantArray }}
- --auxiliary-tenant-array
{{- end }}
{{- with .Values.tenantID }}
- --tenant-id={{ . }}
{{- end }}
{{- with .Values.authorityHost }}
- --authority-host={{ . }}
{{- end }}
{{- with .Values.hostToken.socket }}
- --host-token-socket={{ . }}
{{- end }}
{{- with .Values.hostToken.port }}
- --host-token-port={{ . }}
{{- end }}
{{- range .Values.hostToken.serviceAccounts }}
- --host-token-service-account={{ . }}
{{- end }}
{{- range .Values.hostToken.cgroups }}
- --host-token-cgroup={{ . }}
{{- end }}
{{- if ne .Values.logLevel "info" }}
- --log-level={{ .Values.logLevel }}
{{- end }}
{{- with .Values.audit }}
- --audit-file={{ .file }}
{{- if ne .file "none" }}
{{- with .rotateSize }}
- --audit-rotate-size={{ . }}
{{- end }}
{{- with .rotateAge }}
- --audit-rotate-age={{ . }}
{{- end }}
{{- if ne (int .keep) 10 }}
- --audit-keep={{ .keep }}
{{- end }}
{{- if ne .fsync "none" }}
- --audit-fsync={{ .fsync }}
{{- end }}
{{- end }}
{{- if .chain }}
- --audit-chain
{{- end }}
{{- if .stdout }}
- --audit-stdout
{{- end }}
{{- with .syslog }}
- --audit-syslog={{ . }}
{{- end }}
{{- with .otlp }}
- --audit-otlp={{ . }}
{{- end }}
{{- if .otlpHeadersSecret }}
- --audit-otlp-headers=/etc/imdsgate/otlp/headers
{{- end }}
{{- end }}
{{- with .Values.metrics }}
{{- if .port }}
- --metrics-port={{ .port }}
{{- if eq .address "node" }}
- --metrics-address=$(NODE_ADDRESS)
{{- else if ne .address "127.0.0.1" }}
- --metrics-address={{ .address }}
{{- end }}
{{- end }}
{{- end }}
{{- if ne .Values.guard.interfaces "auto" }}
- --guard={{ .Values.guard.interfaces }}
{{- end }}
{{- if ne .Values.guard.hook "auto" }}
- --guard-hook={{ .Values.guard.hook }}
{{- end }}
{{- if ne (int .Values.gatePort) 254 }}
- --gate-port={{ .Values.gatePort }}
{{- end }}
{{- if .Values.netnsDirs }}
- --netns-dir=/run/netns
{{- end }}
{{- range .Values.netnsDirs }}
- --netns-dir={{ . }}
{{- end }}
{{- with .Values.startupTaint.key }}
- --startup-taint={{ . }}
{{- end }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* mounts of paths that are the same inside and outside, so that every default holds:
     {path, propagate, kind} of each, as JSON */}}
{{- define "imdsgate.hostPaths" -}}
{{- $paths := list
  (dict "name" "cgroup" "path" "/sys/fs/cgroup" "follow" true "kind" "Directory")
  (dict "name" "bpf" "path" "/sys/fs/bpf" "follow" true "kind" "Directory")
  (dict "name" "netns" "path" "/run/netns" "follow" true "kind" "DirectoryOrCreate")
  (dict "name" "run" "path" "/run/imdsgate" "kind" "DirectoryOrCreate")
  (dict "name" "log" "path" "/var/log/imdsgate" "kind" "DirectoryOrCreate") -}}
{{- range $i, $path := .Values.netnsDirs -}}
{{- $paths = append $paths (dict "name" (printf "netns-%d" $i) "path" $path "follow" true "kind" "DirectoryOrCreate") -}}
{{- end -}}
{{- if hasPrefix "unix:" .Values.audit.syslog -}}
{{- $paths = append $paths (dict "name" "syslog" "path" (trimPrefix "unix:" .Values.audit.syslog) "kind" "Socket") -}}
{{- end -}}
{{- if .Values.hostToken.socket -}}
{{- if ne (dir .Values.hostToken.socket) "/run/imdsgate" -}}
{{- $paths = append $paths (dict "name" "host-token" "path" (dir .Values.hostToken.socket) "kind" "DirectoryOrCreate") -}}
{{- end -}}
{{- end -}}
{{- dict "paths" $paths | toJson -}}
{{- end -}}

{{- define "imdsgate.securityContext" -}}
readOnlyRootFilesystem: true
{{- if .Values.privileged }}
privileged: true
{{- else }}
privileged: false
# its two processes drop what they do not need once they run
capabilities:
  drop: [ALL]
  add: {{ include "imdsgate.capabilities" . | trim }}
seccompProfile:
  type: Unconfined
{{- end }}
{{- end -}}

{{/* which nodes, and when */}}
{{- define "imdsgate.placement" -}}
{{- with .Values.priorityClassName -}}
priorityClassName: {{ . }}
{{ end -}}
{{- with .Values.tolerations -}}
tolerations:
{{ toYaml . }}
{{ end -}}
{{- with .Values.nodeSelector -}}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{ end -}}
{{- with .Values.affinity -}}
affinity:
  {{- toYaml . | nindent 2 }}
{{ end -}}
{{- with .Values.image.pullSecrets -}}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{ end -}}
{{- end -}}

{{- define "imdsgate.capabilities" -}}
[CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, KILL, NET_ADMIN, NET_BIND_SERVICE, SETGID, SETPCAP, SETUID, SYS_ADMIN, SYS_PTRACE]
{{- end -}}
