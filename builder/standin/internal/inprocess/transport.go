// Package inprocess lets a client call an HTTP handler in the same process,
// without a connection between them.
//
// The controllers, the scheduler and the node hold some hundred watches on the
// API server. Over TLS on the loopback device that is where an emulated or
// small 32-bit ARM core spends its time: Go has no assembly for elliptic
// curves there, handshakes run into their timeouts, and clients retry.
package inprocess

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
)

// Transport is an http.RoundTripper whose server is a handler, which may be
// set after the first clients were made: their requests wait for it.
type Transport struct {
	once    sync.Once
	ready   chan struct{}
	handler http.Handler
}

// NewTransport returns a transport without a handler.
func NewTransport() *Transport { return &Transport{ready: make(chan struct{})} }

// Serve sets the handler.
func (t *Transport) Serve(handler http.Handler) {
	t.once.Do(func() {
		t.handler = handler
		close(t.ready)
	})
}

// RoundTrip runs the handler until it writes a header or returns. What it
// writes after that is read from the response's body as it comes.
func (t *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	select {
	case <-t.ready:
	case <-request.Context().Done():
		return nil, request.Context().Err()
	}
	ctx, cancel := context.WithCancel(request.Context())
	writer := newWriter(ctx)
	go t.run(writer, serverRequest(ctx, request))
	select {
	case <-writer.started:
	case <-ctx.Done():
		cancel()
		return nil, ctx.Err()
	}
	return &http.Response{
		Status:        http.StatusText(writer.status),
		StatusCode:    writer.status,
		Proto:         "HTTP/2.0",
		ProtoMajor:    2,
		Header:        writer.sent,
		Body:          &body{PipeReader: writer.reader, cancel: cancel},
		ContentLength: -1,
		Request:       request,
	}, nil
}

func (t *Transport) run(writer *responseWriter, request *http.Request) {
	defer func() {
		// As net/http's server: a panic ends the request, not the program.
		// The API server's own filters log what it was.
		err := io.EOF
		if recover() != nil {
			err = io.ErrUnexpectedEOF
		}
		writer.WriteHeader(http.StatusOK)
		_ = writer.pipe.CloseWithError(err)
		_ = request.Body.Close()
	}()
	t.handler.ServeHTTP(writer, request)
}

// serverRequest is the client's request as a server would see it.
func serverRequest(ctx context.Context, request *http.Request) *http.Request {
	seen := request.Clone(ctx)
	seen.Proto, seen.ProtoMajor, seen.ProtoMinor = "HTTP/2.0", 2, 0
	seen.RequestURI = request.URL.RequestURI()
	seen.RemoteAddr = "127.0.0.1:1"
	if seen.Host == "" {
		seen.Host = request.URL.Host
	}
	if seen.Body == nil {
		seen.Body = http.NoBody
	}
	return seen
}

// body ends the handler when the client closes it, as closing a connection
// would.
type body struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (b *body) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}

type responseWriter struct {
	ctx     context.Context //nolint:containedctx // CloseNotify needs the request's
	header  http.Header
	once    sync.Once
	started chan struct{}
	status  int
	sent    http.Header
	pipe    *io.PipeWriter
	reader  *io.PipeReader
}

func newWriter(ctx context.Context) *responseWriter {
	w := &responseWriter{ctx: ctx, header: http.Header{}, started: make(chan struct{})}
	w.reader, w.pipe = io.Pipe()
	// A client that goes away without closing the body must not leave the
	// handler waiting in a write.
	context.AfterFunc(ctx, func() { _ = w.pipe.CloseWithError(context.Cause(ctx)) })
	return w
}

func (w *responseWriter) Header() http.Header { return w.header }

func (w *responseWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status = status
		w.sent = w.header.Clone()
		close(w.started)
	})
}

func (w *responseWriter) Write(data []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	n, err := w.pipe.Write(data)
	if errors.Is(err, io.ErrClosedPipe) {
		err = http.ErrHandlerTimeout
	}
	return n, err
}

// Flush has nothing to flush but the header: writes are not buffered.
func (w *responseWriter) Flush() { w.WriteHeader(http.StatusOK) }

// CloseNotify is deprecated, and the API server's filters still look for it.
func (w *responseWriter) CloseNotify() <-chan bool {
	closed := make(chan bool, 1)
	context.AfterFunc(w.ctx, func() { closed <- true })
	return closed
}
