# Compares the output of benchmarks with targets.txt: awk -f summary.awk targets.txt bench.out
FNR == NR {
	if ($0 ~ /^#/ || NF < 4) next
	n++
	name[n] = $1; unit[n] = $2; bound[n] = $3
	meaning = $4
	for (i = 5; i <= NF; i++) meaning = meaning " " $i
	what[n] = meaning
	next
}
$1 ~ /^Benchmark/ && NF >= 4 {
	bench = $1
	sub(/-[0-9]+$/, "", bench)
	for (i = 3; i < NF; i += 2) measured[bench, $(i + 1)] = $i
}
END {
	printf "\n%-34s %10s %8s  %s\n", "BENCHMARK", "MEASURED", "TARGET", ""
	for (k = 1; k <= n; k++) {
		value = measured[name[k], unit[k]]
		limit = substr(bound[k], 3)
		if (value == "") { value = "-"; verdict = "missing" }
		else if (substr(bound[k], 1, 2) == ">=") verdict = value + 0 >= limit + 0 ? "reached" : "MISSED"
		else verdict = value + 0 <= limit + 0 ? "reached" : "MISSED"
		printf "%-34s %10s %8s  %-8s %s\n", name[k], value, bound[k], verdict, what[k]
	}
}
