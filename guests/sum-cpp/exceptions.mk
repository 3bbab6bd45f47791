# C++ with exceptions, for WebAssembly.
#
# Zig's C++ library for WASI is built without exceptions, but Zig ships its source: LLVM's libc++, libc++abi and
# libunwind. This builds them with the exceptions of WebAssembly 3.0 (`exnref`), and links with them instead.
# (-wasm-use-legacy-eh=true, clang's default, would use instructions that Wasmtime does not have.)
TOOLS = build/tools
SOURCE = sum.cpp
TARGET = build/sum-cpp.wasm

ZIG = $(TOOLS)/bin/python -m ziglang
SOURCES := $(wildcard $(TOOLS)/lib/python3*/site-packages/ziglang/lib)
LIBRARY = $(TOOLS)/c++-exceptions
OBJECT = $(LIBRARY)/$(notdir $(TARGET:.wasm=.o))
EXCEPTIONS = -target wasm32-wasi -mcpu=lime1+exception_handling+reference_types \
  -fwasm-exceptions -mllvm -wasm-enable-eh -mllvm -wasm-use-legacy-eh=false
CXXFLAGS = $(EXCEPTIONS) -std=c++23 -Os

# Without threads, which WASI 0.1 does not have.
without = $(filter-out $(addprefix %/,$(addsuffix .cpp,$(1))),$(2))
THREADS = atomic barrier condition_variable condition_variable_destructor future mutex mutex_destructor shared_mutex thread
CXX_OBJECTS = $(patsubst $(SOURCES)/%.cpp,$(LIBRARY)/%.o,$(call without,$(THREADS) new, \
  $(wildcard $(SOURCES)/libcxx/src/*.cpp $(SOURCES)/libcxx/src/ryu/*.cpp)))
ABI_OBJECTS = $(patsubst $(SOURCES)/%.cpp,$(LIBRARY)/%.o,$(call without,cxa_noexception cxa_thread_atexit, \
  $(wildcard $(SOURCES)/libcxxabi/src/*.cpp)))

# Not `zig c++`, which would link its own library as well.
$(TARGET): $(OBJECT) $(LIBRARY)/libc++.a
	mkdir -p $(@D)
	$(ZIG) cc $(EXCEPTIONS) -s -o $@ $^

$(OBJECT): $(SOURCE)
	mkdir -p $(@D)
	$(ZIG) c++ $(CXXFLAGS) -Wall -Wextra -c -o $@ $<

$(LIBRARY)/libc++.a: $(CXX_OBJECTS) $(ABI_OBJECTS) $(LIBRARY)/unwind.o $(LIBRARY)/tag.o
	rm -f $@
	@echo '$(ZIG) ar rcs $@ ...' && $(ZIG) ar rcs $@ $^

$(CXX_OBJECTS): $(LIBRARY)/%.o: $(SOURCES)/%.cpp
	@mkdir -p $(@D)
	@echo 'c++ $*' && $(ZIG) c++ $(CXXFLAGS) -w -c -o $@ $< -fvisibility=hidden \
	  -D_LIBCPP_BUILDING_LIBRARY -DLIBCXX_BUILDING_LIBCXXABI \
	  -I$(SOURCES)/libcxx/src -I$(SOURCES)/libcxx/libc -I$(SOURCES)/libcxxabi/include

$(ABI_OBJECTS): $(LIBRARY)/%.o: $(SOURCES)/%.cpp
	@mkdir -p $(@D)
	@echo 'c++ $*' && $(ZIG) c++ $(CXXFLAGS) -w -c -o $@ $< \
	  -D_LIBCXXABI_BUILDING_LIBRARY -D_LIBCPP_BUILDING_LIBRARY -D_LIBCXXABI_HAS_NO_THREADS \
	  -I$(SOURCES)/libcxx/src -I$(SOURCES)/libcxxabi/src -I$(SOURCES)/libcxxabi/include -I$(SOURCES)/libunwind/include

$(LIBRARY)/unwind.o: $(SOURCES)/libunwind/src/Unwind-wasm.c
	mkdir -p $(@D)
	$(ZIG) cc $(EXCEPTIONS) -Os -w -D_LIBUNWIND_HIDE_SYMBOLS -I$(SOURCES)/libunwind/include -c -o $@ $<

# The tag of what C++ throws: a pointer.
$(LIBRARY)/tag.o: $(LIBRARY)/tag.s
	$(ZIG) cc $(EXCEPTIONS) -Wno-unused-command-line-argument -c -o $@ $<

$(LIBRARY)/tag.s:
	mkdir -p $(@D)
	printf '.tagtype __cpp_exception i32\n.globl __cpp_exception\n__cpp_exception:\n' >$@
