# Turns the reflectors' pods, as `kubectl get pods --output json` has them, into targets of a probe: the JSON of Prometheus's file_sd.
# Their addresses are the nodes'.
[
  .items[]
  | select(.status.podIP and (.metadata.deletionTimestamp | not))
  | (.spec.containers[].ports[]? | select(.name == "stamp").containerPort) as $port
  | (if .status.podIP | contains(":") then "[\(.status.podIP)]" else .status.podIP end) as $address
  | {targets: ["\($address):\($port)"], labels: {node: .spec.nodeName}}
]
