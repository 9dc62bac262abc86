# SPDX-License-Identifier: Apache-2.0
# Google Benchmark's JSON of one stage → [{name, unit, ns, best_ns, floor, …}], per item: the median
# of the repetitions and the best of them.
def median: sort | if length % 2 == 1 then .[length / 2 | floor]
                   else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def field($key): capture("(^| )" + $key + "=(?<value>[^ ]+)").value // null;
def rounded: if . == null then null elif . >= 100 then round else (. * 1000 | round) / 1000 end;

[.benchmarks[] | select((.run_type // "iteration") == "iteration")] | sort_by(.family_index)
| map(.name |= sub("/iterations:.*$"; ""))
| (reduce .[] as $run ([]; if index($run.name) then . else . + [$run.name] end)) as $names
| group_by(.name) | map({key: .[0].name, value: .}) | from_entries as $runs
| [$names[] | $runs[.] as $all | ($all | map(select(.error_occurred | not))) as $good
   | if ($good | length) == 0 then {name: $all[0].name, error: $all[0].error_message}
     else ($good | map(1e9 / .items_per_second)) as $ns
     | ($good[0].label // "") as $text
     | {name: $good[0].name,
        unit: ([$text | try field("unit") catch empty] | first // "point"),
        floor: ([$text | try field("floor") catch empty] | first // null),
        threads: ($text | test("(^| )threads($| )")),
        ns: ($ns | median), best_ns: ($ns | min),
        mb_per_s: ([$good[].bytes_per_second | values] | if length > 0 then median / 1e6 else null end),
        bytes_per_point: $good[0].bytes_per_point, compression: $good[0].ratio}
     end]
| (map(select(.ns) | {key: .name, value: .}) | from_entries) as $by
| map(if .ns == null or .floor == null then . else . as $one | $by[.floor] as $floor
      | if $floor == null then . else
          .floor_ns = $floor.ns | .ratio = ($one.ns / $floor.ns)
          | .best_ratio = ($one.best_ns / $floor.best_ns) end end)
| map(with_entries(select(.value != null and .value != false)
      | if (.value | type) == "number" then .value |= rounded else . end))
