{{- /* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */ -}}
{{- define "reprieve.labels" -}}
app.kubernetes.io/name: reprieve
app.kubernetes.io/part-of: reprieve
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
