// Greets each client by its address and asks for a name: a conversation.
//
// GREETING in the environment replaces the word, the argument --shout prints capitals.
package main

import (
	"bufio"
	"cmp"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
)

func main() {
	log.SetFlags(0) // the journal adds the time
	shout := flag.Bool("shout", false, "print capitals")
	flag.Parse()

	text := fmt.Sprintf("%s, %s! You have reached %s over %s. What is your name?\n",
		cmp.Or(os.Getenv("GREETING"), "Hello"), client(),
		cmp.Or(os.Getenv("WASM_SOCK_NAME"), "hello-go"), cmp.Or(os.Getenv("PROTO"), "stdin"))
	if *shout {
		text = strings.ToUpper(text)
	}
	fmt.Print(text) // not buffered: each Print is one write

	// While this waits, no other goroutine runs: WASI 0.1 has one thread, and Go reads stdin in blocking mode.
	// The handler's `timeout` limits how long the client may take.
	lines := bufio.NewScanner(os.Stdin)
	if !lines.Scan() {
		log.Print("the client told no name: ", cmp.Or(lines.Err(), io.EOF))
		os.Exit(1) // the output is delivered in any case
	}
	fmt.Printf("Goodbye, %s!\n", lines.Text())
}

// client returns who is connected: TCP and UDP have an address, a Unix socket has a process.
func client() string {
	if address, ok := os.LookupEnv("REMOTE_ADDR"); ok {
		return address + " port " + os.Getenv("REMOTE_PORT")
	}
	if pid, ok := os.LookupEnv("UNIXREMOTEPID"); ok {
		return "user " + os.Getenv("UNIXREMOTEUID") + " in process " + pid
	}
	return "stranger"
}
