// Adds up the numbers that the client sends, one in each line, and answers each with the sum so far. A line that is
// not a number is answered with the error: exceptions of std::stoll are caught.

#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>

static long long add(long long sum, const std::string &line)
{
    std::size_t used = 0;
    const long long number = std::stoll(line, &used);
    if (used != line.size())
        throw std::invalid_argument("there is more in the line than a number");
    if (__builtin_add_overflow(sum, number, &sum))
        throw std::overflow_error("the sum is too large");
    return sum;
}

int main()
{
    long long sum = 0;
    for (std::string line; std::getline(std::cin, line);) {
        try {
            sum = add(sum, line);
            std::cout << sum << std::endl;
        } catch (const std::exception &problem) {
            std::cout << "not added: " << problem.what() << std::endl;
        }
    }
}
