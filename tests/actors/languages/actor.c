/* A guest that plays the part its first argument names, for tests/languages.rs. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int echo(void)
{
    static char buffer[16384];
    ssize_t length, written;

    while ((length = read(STDIN_FILENO, buffer, sizeof buffer)) > 0)
        for (char *from = buffer; length > 0; from += written, length -= written)
            if ((written = write(STDOUT_FILENO, from, length)) < 0)
                return 1;
    return length < 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "echo") == 0)
        return echo();
    puts("bye");
    if (argc > 2 && strcmp(argv[1], "exit") == 0)
        exit(atoi(argv[2]));
    fflush(stdout);
    abort();
}
