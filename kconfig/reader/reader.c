// SPDX-License-Identifier: GPL-2.0-only
/*
 * Prints what a kernel tree's own Kconfig parser knows, as JSON. It is linked with the objects of that tree's
 * scripts/kconfig (Linux 6.12 to 7.2). The tree's make starts it instead of conf, so it sees the same environment.
 *
 * Takes the Kconfig file (last argument), the configuration (KCONFIG_CONFIG) and the file to write (KDF_READER_OUT).
 * Writes {"probes": [...], "symbols": [...]}. It never writes a configuration.
 *
 * The linker wraps popen. So each $(shell,...) that the parser runs is noted with its line: once a macro is expanded,
 * the expression no longer contains it.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkc.h"
#include "internal.h"

struct probe {
	char *file, *command;
	int line;
};

static struct probe *probes;
static size_t probe_count;
static FILE *out;

FILE *__real_popen(const char *command, const char *mode);
FILE *__wrap_popen(const char *command, const char *mode);

FILE *__wrap_popen(const char *command, const char *mode)
{
	probes = realloc(probes, (probe_count + 1) * sizeof(*probes));
	if (!probes)
		abort();
	probes[probe_count].file = strdup(cur_filename ? cur_filename : "");
	probes[probe_count].line = yylineno;
	probes[probe_count].command = strdup(command);
	probe_count++;
	return __real_popen(command, mode);
}

static void text(const char *s)
{
	if (!s) {
		fputs("null", out);
		return;
	}
	putc('"', out);
	for (; *s; s++) {
		unsigned char c = *s;

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < 0x20 || c >= 0x7f)	/* bytes as Latin-1: a Kconfig need not be UTF-8 */
			fprintf(out, "\\u%04x", c);
		else
			putc(c, out);
	}
	putc('"', out);
}

static void symbol_operand(const struct symbol *sym)
{
	if (sym->flags & SYMBOL_CONST) {
		fputs("[\"const\",", out);
		text(sym->name);
		putc(']', out);
	} else {
		text(sym->name);	/* null: a choice */
	}
}

static void expression(const struct expr *e)
{
	static const char *const names[] = {
		[E_OR] = "or", [E_AND] = "and", [E_NOT] = "not", [E_EQUAL] = "=", [E_UNEQUAL] = "!=",
		[E_LTH] = "<", [E_LEQ] = "<=", [E_GTH] = ">", [E_GEQ] = ">=", [E_RANGE] = "range",
	};

	if (!e) {
		fputs("null", out);
		return;
	}
	if (e->type == E_SYMBOL) {
		symbol_operand(e->left.sym);
		return;
	}
	fprintf(out, "[\"%s\",", names[e->type] ? names[e->type] : "?");
	switch (e->type) {
	case E_NOT:
		expression(e->left.expr);
		break;
	case E_OR:
	case E_AND:
		expression(e->left.expr);
		putc(',', out);
		expression(e->right.expr);
		break;
	default:
		symbol_operand(e->left.sym);
		putc(',', out);
		symbol_operand(e->right.sym);
	}
	putc(']', out);
}

static void properties(const struct symbol *sym, const char *key, enum prop_type type)
{
	const struct property *p;
	bool first = true;

	fprintf(out, ",\"%s\":[", key);
	for (p = sym->prop; p; p = p->next) {
		if (p->type != type)
			continue;
		fputs(first ? "{\"at\":" : ",{\"at\":", out);
		first = false;
		text(p->filename);
		fprintf(out, ",\"line\":%d,\"text\":", p->lineno);
		text(p->text);
		fputs(",\"value\":", out);
		expression(p->expr);
		fputs(",\"if\":", out);
		expression(p->visible.expr);
		putc('}', out);
	}
	putc(']', out);
}

static void choice(const struct symbol *sym)
{
	struct menu *menu = sym_get_choice_menu(sym);
	struct menu *member;
	bool first = true;

	fputs(",\"choice\":", out);
	if (!menu) {
		fputs("null", out);
		return;
	}
	putc('[', out);
	for (member = menu->list; member; member = member->next) {
		if (!member->sym || !member->sym->name)
			continue;
		if (!first)
			putc(',', out);
		first = false;
		text(member->sym->name);
	}
	putc(']', out);
}

static void one_symbol(struct symbol *sym)
{
	struct menu *menu;
	bool first = true;

	fputs("{\"name\":", out);
	text(sym->name);
	fprintf(out, ",\"type\":\"%s\",\"visible\":%d,\"transitional\":%s", sym_type_name(sym->type), sym->visible,
#ifdef SYMBOL_TRANS
		sym->flags & SYMBOL_TRANS ? "true" :
#endif
		"false");
	fputs(",\"value\":", out);
	text(sym_get_string_value(sym));
	fputs(",\"at\":[", out);
	list_for_each_entry(menu, &sym->menus, link) {
		fputs(first ? "[" : ",[", out);
		first = false;
		text(menu->filename);
		fprintf(out, ",%d]", menu->lineno);
	}
	fputs("],\"depends\":", out);
	expression(sym->dir_dep.expr);
	fputs(",\"selected\":", out);
	expression(sym->rev_dep.expr);
	fputs(",\"implied\":", out);
	expression(sym->implied.expr);
	properties(sym, "prompts", P_PROMPT);
	properties(sym, "menus", P_MENU);
	properties(sym, "defaults", P_DEFAULT);
	properties(sym, "ranges", P_RANGE);
	choice(sym);
	putc('}', out);
}

int main(int argc, char **argv)
{
	const char *path = getenv("KDF_READER_OUT");
	struct symbol *sym;
	bool first = true;
	size_t i;

	if (argc < 2 || !path) {
		fputs("kdf reader: no Kconfig file or no KDF_READER_OUT\n", stderr);
		return 2;
	}
	conf_parse(argv[argc - 1]);
	conf_read(NULL);
	out = fopen(path, "w");
	if (!out) {
		perror(path);
		return 2;
	}
	fputs("{\"symbols\":[\n", out);
	for_all_symbols(sym) {
		if (!sym->name || sym->flags & SYMBOL_CONST)
			continue;
		sym_calc_value(sym);
		if (!first)
			fputs(",\n", out);
		first = false;
		one_symbol(sym);
	}
	fputs("\n],\"probes\":[", out);
	for (i = 0; i < probe_count; i++) {
		fputs(i ? ",\n[" : "\n[", out);
		text(probes[i].file);
		fprintf(out, ",%d,", probes[i].line);
		text(probes[i].command);
		putc(']', out);
	}
	fputs("\n]}\n", out);
	if (fclose(out)) {
		perror(path);
		return 2;
	}
	return 0;
}
