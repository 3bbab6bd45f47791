// A guest that plays the part its first argument names, for tests/languages.rs.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
)

func main() {
	switch os.Args[1] {
	case "echo":
		if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
			panic(err)
		}
	case "exit":
		code, _ := strconv.Atoi(os.Args[2])
		fmt.Println("bye")
		os.Exit(code)
	case "abort":
		fmt.Println("bye")
		panic("as it was asked to")
	case "lines":
		lines()
	}
}

// lines counts, in three goroutines, the lines that a fourth reads, while the main one waits for all of them.
func lines() {
	read := make(chan string)
	counts := make([]int, 3)
	var workers sync.WaitGroup
	for worker := range counts {
		workers.Go(func() {
			for range read {
				counts[worker]++
			}
		})
	}
	go func() {
		defer close(read)
		for scanner := bufio.NewScanner(os.Stdin); scanner.Scan(); {
			read <- scanner.Text()
		}
	}()
	workers.Wait()
	fmt.Println(counts[0]+counts[1]+counts[2], "lines")
}
