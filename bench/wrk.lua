-- One line with what wrk counted: requests, microseconds, errors; p10, median and p99 in microseconds.
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("counted %d %d %d %d %d %d\n", summary.requests, summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(10), latency:percentile(50), latency:percentile(99)))
end
