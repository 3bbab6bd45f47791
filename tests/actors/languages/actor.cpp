// A guest that plays the part its first argument names, for tests/languages.rs. It is built without exceptions,
// and with them; then `exit` throws and catches the code on its way.

#include <cstdlib>
#include <iostream>
#include <iterator>
#include <string_view>

#ifdef __cpp_exceptions
struct Leave { int code; ~Leave() { std::cout << std::flush; } };

static int code_of(const char *text)
{
    try {
        throw Leave{std::atoi(text)};
    } catch (const Leave &leave) {
        return leave.code;
    }
}
#else
static int code_of(const char *text) { return std::atoi(text); }
#endif

int main(int argc, char **argv)
{
    const std::string_view part = argc > 1 ? argv[1] : "";
    if (part == "echo") {
        std::cout << std::cin.rdbuf();
        return 0;
    }
    std::cout << "bye\n" << std::flush;
    if (part == "exit")
        std::exit(code_of(argv[2]));
#ifdef __cpp_exceptions
    throw Leave{1}; // nothing catches it
#else
    std::abort();
#endif
}
