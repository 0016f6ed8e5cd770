package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/protoraft/protoraft/fsm"
)

// Bank is the machine of this example: accounts by name. It implements
// fsm.StateMachine and fsm.Querier.
//
// Commands and queries are words: "open alice 100", "move alice bob 30"; "balance
// alice", "total". So are replies: "ok" or a number, or why not.
type Bank struct{ accounts map[string]uint64 }

// New returns a bank without accounts.
func New() *Bank { return &Bank{map[string]uint64{}} }

// Open is the command that makes an account.
func Open(name string, amount uint64) []byte { return fmt.Appendf(nil, "open %s %d", name, amount) }

// Move is the command that moves an amount from one account to another.
func Move(from, to string, amount uint64) []byte {
	return fmt.Appendf(nil, "move %s %s %d", from, to, amount)
}

// Total is the query for the sum of all accounts.
func Total() []byte { return []byte("total") }

// The bank issues no more than this, so that no sum is ever out of range.
const issuedMax = 1 << 40

// Apply executes a command. What cannot be done is a reply: an error would stop the
// group.
func (b *Bank) Apply(e fsm.Entry) ([]byte, error) { return []byte(b.apply(string(e.Data))), nil }

func (b *Bank) apply(command string) string {
	words := strings.Split(command, " ")
	amount, err := strconv.ParseUint(words[len(words)-1], 10, 64)
	switch {
	case err != nil:
		return "no amount"
	case words[0] == "open" && len(words) == 3:
		return b.open(words[1], amount)
	case words[0] == "move" && len(words) == 4:
		return b.move(words[1], words[2], amount)
	}
	return "no command of this bank"
}

func (b *Bank) open(name string, amount uint64) string {
	_, exists := b.accounts[name]
	switch {
	case name == "":
		return "an account needs a name"
	case exists:
		return "there is such an account"
	case amount > issuedMax || b.total()+amount > issuedMax:
		return "too much money"
	}
	b.accounts[name] = amount
	return "ok"
}

// move checks everything before it changes anything.
func (b *Bank) move(from, to string, amount uint64) string {
	balance, ok := b.accounts[from]
	_, known := b.accounts[to]
	switch {
	case !ok || !known:
		return "no such account"
	case balance < amount:
		return "not enough money"
	}
	b.accounts[from] -= amount // before the next line: the accounts may be the same
	b.accounts[to] += amount
	return "ok"
}

func (b *Bank) total() (sum uint64) {
	for _, amount := range b.accounts {
		sum += amount
	}
	return sum
}

// Query answers "total" and "balance" with a name.
func (b *Bank) Query(query []byte) ([]byte, error) {
	if string(query) == "total" {
		return strconv.AppendUint(nil, b.total(), 10), nil
	}
	name, ok := strings.CutPrefix(string(query), "balance ")
	amount, exists := b.accounts[name]
	if !ok || !exists {
		return nil, fmt.Errorf("bank: %q is no query, or of no account", query)
	}
	return strconv.AppendUint(nil, amount, 10), nil
}

// Snapshot copies the accounts, which are few. fsm/kv shows a view that costs nothing.
func (b *Bank) Snapshot() (fsm.View, error) { return view(maps.Clone(b.accounts)), nil }

type view map[string]uint64

// WriteTo writes a line for each account, in the order of names: equal banks must
// write equal bytes.
func (v view) WriteTo(w io.Writer) (n int64, err error) {
	for _, name := range slices.Sorted(maps.Keys(v)) {
		k, err := fmt.Fprintf(w, "%d %q\n", v[name], name)
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (view) Release() {}

// Restore replaces the accounts.
func (b *Bank) Restore(r io.Reader) error {
	accounts := map[string]uint64{}
	lines := bufio.NewReader(r)
	for {
		var name string
		var amount uint64
		switch _, err := fmt.Fscanf(lines, "%d %q\n", &amount, &name); err {
		case nil:
			accounts[name] = amount
		case io.EOF:
			b.accounts = accounts
			return nil
		default:
			return fmt.Errorf("bank: bad snapshot after %d accounts: %w", len(accounts), err)
		}
	}
}
