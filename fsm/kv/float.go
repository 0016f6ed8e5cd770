package kv

import (
	"errors"
	"math/big"
	"strconv"
	"strings"
)

// INCRBYFLOAT must give the same digits on every member, whatever its processor.
// Redis adds in the 80-bit format of x86: 64 bits of mantissa, round to nearest
// even, and prints 17 decimals without trailing zeros. The same is done here in
// exact arithmetic rounded to 64 bits. Each step's result is the one correctly
// rounded value, so it depends on no library's choices.
const (
	floatPrecision   = 64
	floatExponentMax = 16384  // largest power of two is below 2^16384
	floatExponentMin = -16445 // below it, the format rounds to zero
	floatDigitsMax   = 5 << 10
)

var (
	errNotFloat = errors.New("value is not a valid float")
	errInfinite = errors.New("increment would produce NaN or Infinity")
)

// addFloats returns a+b as Redis prints it.
func addFloats(a, b []byte) ([]byte, error) {
	x, err := parseFloat(string(a))
	if err != nil {
		return nil, err
	}
	y, err := parseFloat(string(b))
	if err != nil {
		return nil, err
	}
	if x.IsInf() || y.IsInf() {
		return nil, errInfinite
	}
	sum := new(big.Float).SetPrec(floatPrecision).Add(x, y)
	if sum.MantExp(nil) > floatExponentMax {
		return nil, errInfinite
	}
	text := sum.Text('f', 17)
	text = strings.TrimRight(text, "0")
	text = strings.TrimSuffix(text, ".")
	if text == "-0" {
		text = "0"
	}
	return []byte(text), nil
}

// parseFloat reads [+-]digits[.digits][e[+-]digits] or [+-]inf[inity]. Unlike
// Redis it refuses hexadecimal.
func parseFloat(s string) (*big.Float, error) {
	zero := new(big.Float).SetPrec(floatPrecision)
	unsigned := strings.TrimPrefix(s, "-")
	negative := unsigned != s
	if !negative {
		unsigned = strings.TrimPrefix(s, "+")
	}
	if strings.EqualFold(unsigned, "inf") || strings.EqualFold(unsigned, "infinity") {
		return zero.SetInf(negative), nil
	}
	digits, exponent, ok := splitFloat(unsigned)
	if !ok || len(s) >= floatDigitsMax {
		return nil, errNotFloat
	}
	if strings.Trim(digits, "0.") == "" {
		return zero, nil
	}
	// The exponent is bounded before anything as long as it says is built.
	if exponent > 2*floatDigitsMax || exponent < -2*floatDigitsMax {
		return nil, errNotFloat
	}
	r, ok := new(big.Rat).SetString(digits + "e" + strconv.Itoa(exponent))
	if !ok {
		return nil, errNotFloat
	}
	f := zero.SetRat(r)
	if e := f.MantExp(nil); e > floatExponentMax || e < floatExponentMin {
		return nil, errNotFloat
	}
	if negative {
		f.Neg(f)
	}
	return f, nil
}

// splitFloat checks the form of an unsigned decimal and reads its exponent,
// clipped to a range far beyond what is representable.
func splitFloat(s string) (digits string, exponent int, ok bool) {
	seen, point := 0, false
	i := 0
	for ; i < len(s); i++ {
		if s[i] == '.' && !point {
			point = true
		} else if s[i] >= '0' && s[i] <= '9' {
			seen++
		} else {
			break
		}
	}
	digits = s[:i]
	if seen == 0 {
		return "", 0, false
	}
	if i == len(s) {
		return digits, 0, true
	}
	rest := s[i:]
	if rest[0] != 'e' && rest[0] != 'E' {
		return "", 0, false
	}
	n, err := strconv.Atoi(rest[1:])
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return "", 0, false
	}
	return digits, max(min(n, 1<<20), -1<<20), true
}
