// SPDX-License-Identifier: MIT
/*
 * Included before a subject of generation G1: the text of its gates, here a jump that is always taken, and what the
 * kernel has behind them. Reports are handed to the callbacks of generation L0, with an address of the value, so that
 * the corpus has one set of expectations. Compile the subject with -mno-red-zone, as the kernel is: gates call.
 * KCOV_DF_SHUT makes gates that are never passed.
 */
#ifdef KCOV_DF_SHUT
static const char __kcov_df_gate_text[] __attribute__((__used__, __nodebug__)) = "# %l[cold] is not taken\n\t";
#else
static const char __kcov_df_gate_text[] __attribute__((__used__, __nodebug__)) =
	"jmp %l[cold] # $ is escaped\n\t"
	".pushsection __jump_table, \"aw\"\n\t.quad %l[cold]\n\t.popsection\n\t";
#endif

struct kdf_gate {
	unsigned long pc;
	const struct {
		unsigned num, type;
		struct {
			unsigned long *table;
			unsigned fields, size;
			unsigned char kind, reg, reg2, offset2;
			unsigned unused;
		} op[];
	} *shape;
};

void __sanitizer_cov_trace_args(unsigned long, unsigned, unsigned, void *, unsigned long *, unsigned);
void __sanitizer_cov_trace_ret(unsigned long, unsigned, void *, unsigned long *, unsigned);

__attribute__((weak)) void __sanitizer_cov_trace_operands(unsigned long *regs, const struct kdf_gate *gate)
{
	for (unsigned i = 0; i < gate->shape->num; i++) {
		typeof(gate->shape->op[0]) op = gate->shape->op[i];
		unsigned long value[3] = { regs[op.reg] };
		void *at = op.kind == 0 ? (void *)0 : op.kind == 2 ? (void *)regs[op.reg] : (void *)value;

		if (op.kind == 3 && op.offset2)
			__builtin_memcpy((char *)value + op.offset2, &regs[op.reg2], 8);
		if (gate->shape->type == 0xe)
			__sanitizer_cov_trace_args(gate->pc, i, op.size, at, op.table, op.fields);
		else
			__sanitizer_cov_trace_ret(gate->pc, op.size, at, op.table, op.fields);
	}
}

/* As in the kernel; here vector registers hold arguments, too. */
__asm__(".text\n.weak __sanitizer_cov_trace_gated\n.type __sanitizer_cov_trace_gated, @function\n__sanitizer_cov_trace_gated:\n\t"
	"pushq %rbp\n\tmovq %rsp, %rbp\n\t"
	"pushq %r10\n\tpushq %rax\n\tpushq %r9\n\tpushq %r8\n\tpushq %rcx\n\tpushq %rdx\n\tpushq %rsi\n\tpushq %rdi\n\t"
	"movq %rsp, %rdi\n\tmovq %r11, %rsi\n\tandq $-64, %rsp\n\tsubq $512, %rsp\n\tfxsave64 (%rsp)\n\t"
	"call __sanitizer_cov_trace_operands\n\t"
	"fxrstor64 (%rsp)\n\tleaq -64(%rbp), %rsp\n\t"
	"popq %rdi\n\tpopq %rsi\n\tpopq %rdx\n\tpopq %rcx\n\tpopq %r8\n\tpopq %r9\n\tpopq %rax\n\tpopq %r10\n\t"
	"popq %rbp\n\tret\n");
