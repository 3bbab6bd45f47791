// Greets each client by its address, then closes the connection. Built without exceptions.
//
// GREETING in the environment replaces the word, the argument --shout prints capitals.

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <format>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unistd.h>

static std::optional<std::string_view> variable(const char *name)
{
    const char *value = std::getenv(name);
    return value ? std::optional{std::string_view{value}} : std::nullopt;
}

// Who is connected: TCP and UDP have an address, a Unix socket has a process.
static std::string client()
{
    if (auto address = variable("REMOTE_ADDR"))
        return std::format("{} port {}", *address, variable("REMOTE_PORT").value_or("?"));
    if (auto pid = variable("UNIXREMOTEPID"))
        return std::format("user {} in process {}", variable("UNIXREMOTEUID").value_or("?"), *pid);
    return "stranger";
}

int main(int argc, char **argv)
{
    std::string text = std::format(
        "{}, {}! Your connection to {} over {} started me, just for you.\n",
        variable("GREETING").value_or("Hello"), client(),
        variable("WASM_SOCK_NAME").value_or("hello-cpp"), variable("PROTO").value_or("stdin"));

    std::span arguments(argv, argc);
    if (std::ranges::contains(arguments, std::string_view{"--shout"}))
        std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::toupper(c); });

    // One text, one write, as each write is a call out of the sandbox. It fails only when the client has left.
    write(STDOUT_FILENO, text.data(), text.size());
}
