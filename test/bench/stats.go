package main

import (
	"cmp"
	"math"
	"slices"
)

// median of an even number of values is the mean of the middle two; 0 of none.
func median(vs []float64) float64 {
	if len(vs) == 0 {
		return 0
	}
	vs = slices.Clone(vs)
	slices.SortFunc(vs, cmp.Compare[float64])
	return (vs[(len(vs)-1)/2] + vs[len(vs)/2]) / 2
}

// quantile is the value of rank ceil(q·n); 0 of none.
func quantile(vs []float64, q float64) float64 {
	if len(vs) == 0 {
		return 0
	}
	vs = slices.Clone(vs)
	slices.SortFunc(vs, cmp.Compare[float64])
	rank := int(math.Ceil(q * float64(len(vs))))
	return vs[min(max(rank, 1), len(vs))-1]
}
