// SPDX-License-Identifier: GPL-2.0
/* A live patch of a function of the kernel: getpid returns a number of its own. The new function has gates like any other. */
#include <linux/livepatch.h>
#include <linux/module.h>
#include <asm/ptrace.h>

long kdf_patch_getpid(const struct pt_regs *regs);

noinline long kdf_patch_getpid(const struct pt_regs *regs)
{
	long ret = 424242;

	OPTIMIZER_HIDE_VAR(ret);
	return ret;
}

static struct klp_func funcs[] = {
	{ .old_name = "__x64_sys_getpid", .new_func = kdf_patch_getpid },
	{ }
};

static struct klp_object objects[] = {
	{ .funcs = funcs },
	{ }
};

static struct klp_patch patch = {
	.mod	= THIS_MODULE,
	.objs	= objects,
};

static int __init patch_init(void)
{
	return klp_enable_patch(&patch);
}
module_init(patch_init);

static void __exit patch_exit(void)
{
}
module_exit(patch_exit);

MODULE_DESCRIPTION("A live patch with gates");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
