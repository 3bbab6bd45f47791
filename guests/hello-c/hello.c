/* Greets each client by its address, then closes the connection.
 *
 * GREETING in the environment replaces the word, the argument --shout prints capitals. */

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

/* Who is connected: TCP and UDP have an address, a Unix socket has a process. */
static void name_client(char *client, size_t size)
{
    const char *address = getenv("REMOTE_ADDR"), *port = getenv("REMOTE_PORT");
    const char *uid = getenv("UNIXREMOTEUID"), *pid = getenv("UNIXREMOTEPID");

    if (address && port)
        snprintf(client, size, "%s port %s", address, port);
    else if (uid && pid)
        snprintf(client, size, "user %s in process %s", uid, pid);
    else
        snprintf(client, size, "stranger");
}

int main(int argc, char **argv)
{
    char client[128], text[1024];

    name_client(client, sizeof client);
    snprintf(text, sizeof text,
             "%s, %s! Your knock on %s over %s awakened me, just for you.\n",
             var_or("GREETING", "Hello"), client,
             var_or("WASM_SOCK_NAME", "hello-c"), var_or("PROTO", "stdin"));

    if (argc > 1 && strcmp(argv[1], "--shout") == 0)
        for (char *c = text; *c; c++)
            *c = toupper((unsigned char)*c);

    /* One text, one write, as each write is a call out of the sandbox. It fails only if the
     * client has left. */
    write(STDOUT_FILENO, text, strlen(text));
    return 0;
}
