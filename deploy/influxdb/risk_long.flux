// Every hour: the hour that ended, one value a series, into the bucket for long ranges. Times are the hour's start.
// Each stream has a name of its own: Flux asks for one where a script has several results.
option task = {name: "risk_long", every: 1h, offset: 10m}

hour = from(bucket: "risk") |> range(start: -task.every)

hour
    |> filter(fn: (r) => r._measurement == "risk")
    |> filter(fn: (r) => r._field == "expected" or r._field == "risk" or r._field == "usual")
    |> aggregateWindow(every: 1h, fn: mean, createEmpty: false, timeSrc: "_start")
    |> to(bucket: "risk_long")
    |> yield(name: "scores")

hour
    |> filter(fn: (r) => r._measurement == "risk" and r._field == "observed_1h")
    |> aggregateWindow(every: 1h, fn: last, createEmpty: false, timeSrc: "_start")
    |> to(bucket: "risk_long")
    |> yield(name: "seen")

// The ledger keeps its newest value of the hour.
hour
    |> filter(fn: (r) => r._measurement == "pipeline")
    |> aggregateWindow(every: 1h, fn: last, createEmpty: false, timeSrc: "_start")
    |> to(bucket: "risk_long")
    |> yield(name: "ledger")

// Outcomes bear the hour of their forecast and come when its horizon has closed, days later: copied again each time.
from(bucket: "risk")
    |> range(start: -16d)
    |> filter(fn: (r) => r._measurement == "outcome" or r._measurement == "outcome_area" or r._measurement == "outcome_chance")
    |> to(bucket: "risk_long")
    |> yield(name: "outcomes")
