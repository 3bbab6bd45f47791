/* Greets whoever knocks, then hangs up: ../hello in C.
 *
 * GREETING in the environment replaces the word, the argument --shout says it louder. */

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *var_or(const char *name, const char *fallback)
{
    const char *value = getenv(name);
    return value ? value : fallback;
}

/* Who knocked, as far as the socket tells: TCP knows an address, a Unix socket a process. */
static void name_caller(char *caller, size_t size)
{
    const char *address = getenv("REMOTE_ADDR"), *port = getenv("REMOTE_PORT");
    const char *uid = getenv("UNIXREMOTEUID"), *pid = getenv("UNIXREMOTEPID");

    if (address && port)
        snprintf(caller, size, "%s port %s", address, port);
    else if (uid && pid)
        snprintf(caller, size, "user %s in process %s", uid, pid);
    else
        snprintf(caller, size, "stranger");
}

int main(int argc, char **argv)
{
    char caller[128], text[1024];

    name_caller(caller, sizeof caller);
    snprintf(text, sizeof text,
             "%s, %s! Your knock on %s over %s awakened me, just for you.\n",
             var_or("GREETING", "Hello"), caller,
             var_or("WASM_SOCK_NAME", "hello-c"), var_or("PROTO", "stdin"));

    if (argc > 1 && strcmp(argv[1], "--shout") == 0)
        for (char *c = text; *c; c++)
            *c = toupper((unsigned char)*c);

    /* One text, one write, as each write is a call out of the sandbox. It fails only if the
     * caller has hung up already, and then there is nobody to greet. */
    write(STDOUT_FILENO, text, strlen(text));
    return 0;
}
