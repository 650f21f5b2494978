package inprocess

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAnswerAndBody(t *testing.T) {
	transport := NewTransport()
	transport.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Path", r.URL.Path)
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s", r.Method, sent)
	}))
	client := &http.Client{Transport: transport}
	response, err := client.Post("http://api/a/b", "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil || string(content) != "POST hello" {
		t.Errorf("%q, %v", content, err)
	}
	if response.StatusCode != http.StatusTeapot || response.Header.Get("X-Path") != "/a/b" {
		t.Errorf("%d %v", response.StatusCode, response.Header)
	}
}

func TestStreamEndsWithTheClient(t *testing.T) {
	ended := make(chan struct{})
	transport := NewTransport()
	go transport.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		fmt.Fprintln(w, "one")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://api/", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(response.Body).ReadString('\n')
	if err != nil || line != "one\n" {
		t.Errorf("%q, %v", line, err)
	}
	response.Body.Close()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the handler goes on after the client has closed the body")
	}
}

func TestPanicEndsTheRequestOnly(t *testing.T) {
	transport := NewTransport()
	transport.Serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "part")
		panic("handler")
	}))
	response, err := (&http.Client{Transport: transport}).Get("http://api/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.ReadAll(response.Body); err == nil {
		t.Error("a cut answer looks whole")
	}
}
