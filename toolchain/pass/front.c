// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/*
 * Fronts a plugin toolchain: started as clang, clang++ or rustc, it becomes the stock compiler of that name.
 *
 * The command line may ask for dataflow in the RFC's spelling. This program replaces that part by what loads our pass.
 * Without such a part it changes nothing, byte for byte.
 *
 *   clang   -fsanitize-coverage=dataflow-args,dataflow-ret
 *   rustc   -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 -Cllvm-args=-sanitizer-coverage-dataflow-args ...
 *
 * Later postings say trace-args and trace-ret, first with the same callbacks (generation L1), then with others (L3).
 * A toolchain of generation L3 knows only these words, since dataflow-args stands for addresses, not values.
 * A toolchain of generation G1 knows only gated-args and gated-ret, since its calls need gates in the kernel.
 *
 * KDF_CLANG, KDF_CLANGXX and KDF_RUSTC name the real compilers when this is compiled. KDF_IDENTITY makes the programs of
 * two toolchains differ, because compiler caches look at the compiler's file.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef KDF_CLANG
#error "KDF_CLANG must name the real clang"
#endif
#ifndef KDF_CLANGXX
#define KDF_CLANGXX KDF_CLANG "++"
#endif
#ifndef KDF_RUSTC
#define KDF_RUSTC "/usr/bin/rustc"
#endif
#ifndef KDF_IDENTITY
#define KDF_IDENTITY "none"
#endif

__attribute__((used)) static const char identity[] = "kcov-dataflow-kit front " KDF_IDENTITY;

enum { ARGS = 1, RET = 2 };
static const char *const variants[] = { NULL, "dataflow-args.so", "dataflow-ret.so", "dataflow-args-ret.so" };
static const char *const words_of[][2] = {
#ifdef KDF_GATED
	{ "gated-args", "gated-ret" },
#else
#ifndef KDF_BY_VALUE
	{ "dataflow-args", "dataflow-ret" },
#endif
	{ "trace-args", "trace-ret" },
#endif
};
enum { SPELLINGS = sizeof(words_of) / sizeof(*words_of) };

struct list {
	char **at;
	size_t count, room;
};

/* Returns what one of our words asks for; 0 for any other word. */
static int asked_by(const char *word, size_t n)
{
	for (int i = 0; i < SPELLINGS; i++)
		for (int what = 0; what < 2; what++)
			if (strlen(words_of[i][what]) == n && !strncmp(word, words_of[i][what], n))
				return what ? RET : ARGS;
	return 0;
}

/* Checks whether one of our words is anywhere in a text. */
static bool speaks(const char *text)
{
	for (int i = 0; i < SPELLINGS; i++)
		if (strstr(text, words_of[i][0]) || strstr(text, words_of[i][1]))
			return true;
	return false;
}

static void die(const char *format, ...)
{
	va_list args;

	fputs("kcov-dataflow-kit front: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static void *room_for(void *old, size_t bytes)
{
	void *got = realloc(old, bytes);

	if (!got)
		die("out of memory");
	return got;
}

static void add(struct list *to, char *word)
{
	if (to->count + 1 >= to->room) {
		to->room = to->room ? to->room * 2 : 256;
		to->at = room_for(to->at, to->room * sizeof(*to->at));
	}
	to->at[to->count++] = word;
	to->at[to->count] = NULL;
}

static char *joined(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b);
	char *word = room_for(NULL, n + m + 1);

	memcpy(word, a, n);
	memcpy(word + n, b, m + 1);
	return word;
}

static const char *after(const char *word, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(word, prefix, n) ? NULL : word + n;
}

/* Reads a whole file; NULL if it cannot be read. The compiler will say why. */
static char *contents(const char *name)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	struct stat about;
	char *text = NULL;

	if (fd < 0)
		return NULL;
	if (!fstat(fd, &about) && S_ISREG(about.st_mode)) {
		size_t have = 0, size = (size_t)about.st_size;
		ssize_t got;

		text = room_for(NULL, size + 1);
		while (have < size && (got = read(fd, text + have, size - have)) > 0)
			have += (size_t)got;
		text[have] = 0;
	}
	close(fd);
	return text;
}

/* Split a response file as GNU tools do: white space, both kinds of quotes, backslashes. */
static void add_words(struct list *to, const char *text)
{
	while (*text) {
		char *word, *end;
		char quote = 0;

		text += strspn(text, " \t\r\n\f\v");
		if (!*text)
			break;
		word = end = room_for(NULL, strlen(text) + 1);
		for (; *text && (quote || !strchr(" \t\r\n\f\v", *text)); text++) {
			if (*text == '\\' && quote != '\'' && text[1])
				*end++ = *++text;
			else if (quote ? *text == quote : (*text == '"' || *text == '\''))
				quote = quote ? 0 : *text;
			else
				*end++ = *text;
		}
		*end = 0;
		add(to, word);
	}
}

/* Replaces response files that mention dataflow by their content (rustc: one argument per line). */
static void open_files(struct list *to, char **words, size_t count, bool rust, int depth)
{
	for (size_t i = 0; i < count; i++) {
		char *text = words[i][0] == '@' && depth < 16 ? contents(words[i] + 1) : NULL;
		struct list inner = { 0 };

		if (!text || (!speaks(text) && !strchr(text, '@'))) {
			add(to, words[i]);
			free(text);
			continue;
		}
		if (rust)
			for (char *save, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
				add(&inner, line);
		else
			add_words(&inner, text);
		open_files(to, inner.at, inner.count, rust, depth + 1);
	}
}

static bool speaks_of_dataflow(const struct list *words)
{
	for (size_t i = 1; i < words->count; i++)
		if (speaks(words->at[i]))
			return true;
	return false;
}

/* Returns lib/NAME of the toolchain that this program belongs to. */
static char *plugin(int what)
{
	static char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		die("cannot read /proc/self/exe: %s", strerror(errno));
	self[n] = 0;
	for (int up = 0; up < 2; up++) {
		char *slash = strrchr(self, '/');

		if (slash)
			*slash = 0;
	}
	return joined(joined(self, "/lib/"), variants[what]);
}

/* ---- clang ---- */

/* These values make clang believe that coverage is on: CodeGenOptions::hasSanitizeCoverage() reads them. */
static const char *const believed[] = {
	"func", "bb", "edge", "indirect-calls", "trace-bb", "trace-cmp", "trace-loads", "trace-stores",
	"trace-pc", "trace-pc-guard", "8bit-counters", "inline-8bit-counters", "inline-bool-flag", "control-flow",
};

/* Lists the options whose next word is a value, whatever it looks like. */
static bool takes_value(const char *word)
{
	static const char *const those[] = {
		"-o", "-x", "-I", "-D", "-U", "-L", "-l", "-T", "-u", "-z", "-e", "-MF", "-MT", "-MQ", "-MJ", "-include",
		"-imacros", "-isystem", "-iquote", "-idirafter", "-isysroot", "-iprefix", "-iwithprefix",
		"-iwithprefixbefore", "-Xclang", "-Xassembler", "-Xlinker", "-Xpreprocessor", "-Xanalyzer", "-mllvm",
		"-target", "-arch", "-dumpdir", "--param", "-framework", "-rpath", "-F", "-B",
	};

	for (size_t i = 0; i < sizeof(those) / sizeof(*those); i++)
		if (!strcmp(word, those[i]))
			return true;
	return false;
}

/* Takes our words out of one list of values and notes what they switch. The last word about a value wins. */
static char *without_dataflow(const char *values, bool on, int *wanted, unsigned *other)
{
	char *left = room_for(NULL, strlen(values) + 1), *end = left;

	while (*values) {
		size_t n = strcspn(values, ",");
		int bit = asked_by(values, n);

		if (bit) {
			*wanted = on ? *wanted | bit : *wanted & ~bit;
		} else {
			for (size_t i = 0; i < sizeof(believed) / sizeof(*believed); i++)
				if (strlen(believed[i]) == n && !strncmp(values, believed[i], n))
					*other = on ? *other | 1u << i : *other & ~(1u << i);
			if (end != left)
				*end++ = ',';
			memcpy(end, values, n);
			end += n;
		}
		values += n + (values[n] == ',');
	}
	*end = 0;
	return left;
}

static void translate_clang(const struct list *in, struct list *out)
{
	struct list rest = { 0 };
	unsigned other = 0;
	int wanted = 0;

	for (size_t i = 1; i < in->count; i++) {
		const char *on = after(in->at[i], "-fsanitize-coverage=");
		const char *off = after(in->at[i], "-fno-sanitize-coverage=");

		if (!strcmp(in->at[i], "--")) {
			while (i < in->count)
				add(&rest, in->at[i++]);
		} else if (takes_value(in->at[i]) && i + 1 < in->count) {
			add(&rest, in->at[i++]);
			add(&rest, in->at[i]);
		} else if (on || off) {
			char *left = without_dataflow(on ? on : off, on, &wanted, &other);

			if (*left || !speaks(in->at[i]))
				add(&rest, joined(on ? "-fsanitize-coverage=" : "-fno-sanitize-coverage=", left));
		} else {
			add(&rest, in->at[i]);
		}
	}
	add(out, in->at[0]);
	if (wanted) {
		/* Assembling and linking do not use these options, and must not fail because of them. */
		add(out, "--start-no-unused-arguments");
		add(out, joined("-fpass-plugin=", plugin(wanted)));
		if (!other) {
			/*
			 * Clang drops the attribute of no_sanitize_coverage, and __has_feature(coverage_sanitizer) is false,
			 * while no coverage is on. This switch alone turns it on and adds no code.
			 */
			add(out, "-Xclang");
			add(out, "-fsanitize-coverage-indirect-calls");
		}
		add(out, "--end-no-unused-arguments");
	}
	for (size_t i = 0; i < rest.count; i++)
		add(out, rest.at[i]);
}

/* ---- rustc ---- */

/* Returns the value of codegen option `name` in any spelling; *used counts the words that it took. */
static const char *codegen(char **words, size_t left, const char *name, size_t *used)
{
	static const char *const spelled[] = { "-C", "--codegen", "--codegen=" };
	const char *value;

	for (size_t i = 0; i < 3; i++) {
		const char *rest = after(words[0], spelled[i]);

		*used = 1;
		if (rest && !*rest && left > 1 && i < 2) {
			rest = words[1];
			*used = 2;
		}
		if (rest && (value = after(rest, name)) && *value == '=')
			return value + 1;
	}
	return NULL;
}

static bool is_host_crate(const struct list *in)
{
	for (size_t i = 1; i < in->count; i++)
		if (!strcmp(in->at[i], "--crate-type=proc-macro") ||
		    (!strcmp(in->at[i], "proc-macro") && !strcmp(in->at[i - 1], "--crate-type")))
			return true;
	return false;
}

static bool add_once(struct list *to, const char *word)
{
	for (size_t i = 0; i < to->count; i++)
		if (!strcmp(to->at[i], word))
			return false;
	add(to, joined(word, ""));
	return true;
}

static void translate_rustc(const struct list *in, struct list *out)
{
	struct list rest = { 0 }, passes = { 0 }, options = { 0 };
	bool kcov = false;
	int wanted = 0;
	size_t used;

	for (size_t i = 1; i < in->count; i += used) {
		const char *llvm = codegen(in->at + i, in->count - i, "llvm-args", &used);
		const char *pass = llvm ? NULL : codegen(in->at + i, in->count - i, "passes", &used);
		char *text = llvm || pass ? joined(llvm ? llvm : pass, "") : NULL;
		const char *ours;
		char *save;

		if (!text) {
			used = 1;
			add(&rest, in->at[i]);
			continue;
		}
		for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
			if (pass)
				add_once(&passes, word);
			else if (!(ours = after(word, "-sanitizer-coverage-")))
				add(&options, joined(word, ""));
			else if (after(ours, "gate-text="))
				/* rustc does not pass options to a plugin. */
				setenv("KCOV_DATAFLOW_GATE_TEXT", after(ours, "gate-text="), 1);
			else if (asked_by(ours, strlen(ours)))
				wanted |= asked_by(ours, strlen(ours));
			else
				kcov |= add_once(&options, word) && !after(word, "-sanitizer-coverage-level=");
		}
	}
	add(out, in->at[0]);
	for (size_t i = 0; i < rest.count; i++)
		add(out, rest.at[i]);
	/* Without plain KCOV, sancov itself would emit only guards, which nobody uses. */
	for (size_t i = 0; i < passes.count; i++)
		if (kcov || strcmp(passes.at[i], "sancov-module"))
			add(out, joined("-Cpasses=", passes.at[i]));
	for (size_t i = 0; i < options.count; i++)
		if (kcov || !after(options.at[i], "-sanitizer-coverage-level="))
			add(out, joined("-Cllvm-args=", options.at[i]));
	if (wanted && !is_host_crate(in)) {
		setenv("RUSTC_BOOTSTRAP", "1", 1);
		add(out, joined("-Zllvm-plugins=", plugin(wanted)));
	}
}

int main(int argc, char **argv)
{
	const char *name = argc ? strrchr(argv[0], '/') : NULL;
	bool rust, plus;
	struct list in = { 0 }, out = { 0 };
	char *real;

	if (!argc)
		die("started without a name");
	name = name ? name + 1 : argv[0];
	rust = strstr(name, "rustc") != NULL;
	plus = strstr(name, "clang++") != NULL;
	real = rust ? KDF_RUSTC : plus ? KDF_CLANGXX : KDF_CLANG;
	open_files(&in, argv, (size_t)argc, rust, 0);
	/* Programs that the driver starts itself do not concern us. */
	if (!speaks_of_dataflow(&in) || (argc > 1 && after(argv[1], "-cc1")))
		out = (struct list){ argv, (size_t)argc, 0 };
	else if (rust)
		translate_rustc(&in, &out);
	else
		translate_clang(&in, &out);
	out.at[0] = real;
	execv(real, out.at);
	die("cannot start %s: %s", real, strerror(errno));
}
