{{- /* The image of a service: named wholly in its values, or REGISTRY/NAME:TAG. */}}
{{- define "tidings.image" -}}
{{- $image := .root.Values.image -}}
{{- .image | default (printf "%s/%s:%s" $image.registry .name ($image.tag | default .root.Chart.AppVersion)) -}}
{{- end }}

{{- /* preStop 5 s, unready, drain, 15 s for the last answers, and 15 s in reserve. */}}
{{- define "tidings.gateway.grace" -}}
{{- $gateway := .Values.gateway -}}
{{- add 35 (div (int $gateway.unreadyMs) 1000) (div (int $gateway.drainMs) 1000) -}}
{{- end }}

{{- /* preStop 5 s, unready, 25 s for the last answers and batches, and 15 s in reserve. */}}
{{- define "tidings.persistence.grace" -}}
{{- add 45 (div (int .Values.persistence.unreadyMs) 1000) -}}
{{- end }}
