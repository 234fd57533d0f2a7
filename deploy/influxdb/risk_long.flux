// Every hour: the hours that ended, one value a series, into the bucket for long ranges. Times are the hour's start.
// Each stream has a name of its own: Flux asks for one where a script has several results. Each reads the store by
// itself: the store answers a filter and a window of its own reading, but would send whole hours to a shared one.
import "date"

option task = {name: "risk_long", every: 1h, offset: 10m}

// The newest hour that is here is copied again, as a run that was cut off may have copied half of it; the hours of an
// outage, up to a week, follow.
newest =
    from(bucket: "risk_long")
        |> range(start: -7d)
        |> filter(fn: (r) => r._measurement == "pipeline" and r._field == "consumed")
        |> last()
        |> group()
        |> max(column: "_time")
        |> findRecord(fn: (key) => true, idx: 0)
since = if exists newest._time then newest._time else date.sub(d: task.every, from: now())
hours = () => from(bucket: "risk") |> range(start: since)

hours()
    |> filter(fn: (r) => r._measurement == "risk")
    |> filter(fn: (r) => r._field == "expected" or r._field == "risk" or r._field == "usual")
    |> aggregateWindow(every: 1h, fn: mean, createEmpty: false, timeSrc: "_start")
    |> to(bucket: "risk_long")
    |> yield(name: "scores")

hours()
    |> filter(fn: (r) => r._measurement == "risk" and r._field == "observed_1h")
    |> aggregateWindow(every: 1h, fn: last, createEmpty: false, timeSrc: "_start")
    |> to(bucket: "risk_long")
    |> yield(name: "seen")

// The ledger keeps its newest value of the hour.
hours()
    |> filter(fn: (r) => r._measurement == "pipeline")
    |> aggregateWindow(every: 1h, fn: last, createEmpty: false, timeSrc: "_start")
    |> to(bucket: "risk_long")
    |> yield(name: "ledger")

// Outcomes and what the gate says of them bear the hour of their forecast and come when its horizon has closed, days later: copied again each time.
from(bucket: "risk")
    |> range(start: -16d)
    |> filter(fn: (r) => r._measurement == "outcome" or r._measurement == "outcome_area" or r._measurement == "outcome_chance"
        or r._measurement == "shadow" or r._measurement == "gate" or r._measurement == "drift" or r._measurement == "following"
        or r._measurement == "feedback")
    |> to(bucket: "risk_long")
    |> yield(name: "outcomes")
