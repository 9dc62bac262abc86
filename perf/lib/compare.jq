# SPDX-License-Identifier: Apache-2.0
# Measured numbers against accepted ones ($accepted, $measured: {toolchain, numbers: {name: {unit,
# value}}}) → rows {name, unit, accepted, measured, change, verdict}. With `$same` toolchain a growth
# beyond $limit fails; on another one beyond $far, which no compiler's or library's update explains.
def verdict($change; $limit):
    if $change > $limit then "GREW" elif $change < -$limit then "less" else "ok" end;

($accepted.toolchain == $measured.toolchain) as $same
| (if $same then $limit else $far end) as $bound
| ($measured.numbers | keys_unsorted) as $names
| ($accepted.numbers // {}) as $old
| [$names[] | . as $name | $measured.numbers[$name] as $new
   | if $old[$name] == null then {name: $name, unit: $new.unit, measured: $new.value, verdict: "NEW"}
     else (($new.value / $old[$name].value) - 1) as $change
     | {name: $name, unit: $new.unit, accepted: $old[$name].value, measured: $new.value,
        change: $change, verdict: verdict($change; $bound)} end]
  + [if $complete then ($old | keys_unsorted[]) | select($measured.numbers[.] == null)
     | {name: ., unit: $old[.].unit, accepted: $old[.].value, verdict: "GONE"} else empty end]
