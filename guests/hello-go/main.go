// Greets each client by its address and asks for a name: ../hello in Go, with a conversation.
//
// GREETING in the environment replaces the word, the argument --shout prints capitals.
package main

import (
	"bufio"
	"cmp"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
	"time"
)

// How long the client may take for its answer.
const patience = 30 * time.Second

func main() {
	log.SetFlags(0) // the journal has the time already
	shout := flag.Bool("shout", false, "print capitals")
	flag.Parse()

	greeting := cmp.Or(os.Getenv("GREETING"), "Hello")
	text := fmt.Sprintf("%s, %s! You have reached %s over %s. What is your name?\n", greeting, client(),
		cmp.Or(os.Getenv("WASM_SOCK_NAME"), "hello-go"), cmp.Or(os.Getenv("PROTO"), "stdin"))
	if *shout {
		text = strings.ToUpper(text)
	}
	fmt.Print(text) // not buffered: each Print is one write

	select {
	case name := <-readLine():
		fmt.Printf("Goodbye, %s!\n", cmp.Or(name, "stranger"))
	case <-time.After(patience):
		log.Print("the client did not answer")
		os.Exit(1) // what was written arrives all the same
	}
}

// client tells who is connected: TCP and UDP have an address, a Unix socket has a process.
func client() string {
	if address, ok := os.LookupEnv("REMOTE_ADDR"); ok {
		return address + " port " + os.Getenv("REMOTE_PORT")
	}
	if pid, ok := os.LookupEnv("UNIXREMOTEPID"); ok {
		return "user " + os.Getenv("UNIXREMOTEUID") + " in process " + pid
	}
	return "stranger"
}

// readLine reads the first line of stdin in a goroutine, so that main can wait for other things, too.
func readLine() <-chan string {
	line := make(chan string, 1)
	go func() {
		text, err := bufio.NewReader(os.Stdin).ReadString('\n')
		if err != nil && text == "" {
			log.Print("no name: ", err)
		}
		line <- strings.TrimSpace(text)
	}()
	return line
}
