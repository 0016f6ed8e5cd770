package link

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/protoraft/protoraft/messages"
)

// identity is a certificate that signs itself, and who trusts it.
type identity struct {
	server *tls.Config
	client func(string) *tls.Config
}

func selfSigned(t testing.TB, name string) identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	c := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		RootCAs:      pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS13, ServerName: "127.0.0.1",
	}
	return identity{c, func(string) *tls.Config { return c }}
}

func (i identity) use(o *Options) { o.ServerTLS, o.ClientTLS = i.server, i.client }

// With TLS everything arrives, who admits sees the certificate, and nobody without one
// is even heard.
func TestLinkWithTLS(t *testing.T) {
	checkLeaks(t)
	trusted := selfSigned(t, "trusted")
	seen := make(chan string, 8)
	b := startNode(t, "b", trusted.use, func(o *Options) {
		admit := o.Admit
		o.Admit = func(c Caller) (Visitor, error) {
			if c.TLS == nil || len(c.TLS.PeerCertificates) == 0 {
				return nil, errors.New("no certificate")
			}
			seen <- c.TLS.PeerCertificates[0].Subject.CommonName
			return admit(c)
		}
	})
	a := startNode(t, "a", trusted.use)
	p := a.connect(t, b)
	if name := <-seen; name != "trusted" {
		t.Errorf("certificate of %q", name)
	}
	for i := range uint64(50) {
		p.Send(raft1, repl1, &messages.AppendEntries{PrevIndex: i, Block: make([]byte, 5_000*i)})
	}
	for i := range uint64(50) {
		if m := b.next(t).message.(*messages.AppendEntries); m.PrevIndex != i || len(m.Block) != int(5_000*i) {
			t.Fatalf("message %d has %d bytes, expected %d with %d", m.PrevIndex, len(m.Block), i, 5_000*i)
		}
	}

	for name, change := range map[string]func(*Options){"stranger's certificate": selfSigned(t, "stranger").use, "no TLS": func(*Options) {}} {
		c := startNode(t, "c", change, func(o *Options) { o.ConnectTimeout = time.Second })
		q := c.Peer(b.address)
		until(t, name+" is turned away", func() bool {
			if q.Send(raft1, nil, heartbeat(1)) {
				t.Fatalf("%s: was let in", name)
			}
			return q.status().Why != ""
		})
		c.close()
	}
	r := call(t, b).say(helloFrame(t, goodHello()))
	answer, _ := io.ReadAll(r)
	if strings.HasPrefix(string(answer), Magic) && !strings.Contains(string(answer), "TLS") || len(b.got) != 0 {
		t.Errorf("a plain hello was answered with %q", answer)
	}
}
