{{- define "vsqlvault.labels" -}}
app.kubernetes.io/name: vsqlvault
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "vsqlvault.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end }}
