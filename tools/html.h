// What the pages that rondo writes have in common: they need nothing else, follow the reader's colours, and their
// tables sort by a click on a header. Rows are in the page: it can be read without scripts.
#ifndef RONDO_TOOLS_HTML_H_
#define RONDO_TOOLS_HTML_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace rondo {

// Text for XML and HTML. Names come from files: control characters, which XML has no form for, are made printable.
std::string Markup(absl::string_view text);

// From the doctype to <body>; `style` is added to the common rules (class n: a number; good, bad, none: colours; wide:
// may scroll sideways).
std::string HtmlHead(absl::string_view title, absl::string_view style);
// The script that makes tables sortable, within <script> of its own.
std::string HtmlTableScript();

// <table> with a header and rows, which scrolls sideways where the page is too narrow for it. Cells are markup already;
// those of the columns marked 'r' are numbers, and sort by what stands in front of them. `sort` gives a cell another
// key than its text.
struct HtmlCell {
  std::string markup, sort;
  HtmlCell(std::string text) : markup(std::move(text)) {}  // NOLINT: rows are written as lists
  HtmlCell(const char* text) : markup(text) {}             // NOLINT
  HtmlCell(std::string text, double key);
};
std::string HtmlTable(absl::string_view id, const std::vector<std::string>& header, absl::string_view alignment,
                      const std::vector<std::vector<HtmlCell>>& rows);

}  // namespace rondo

#endif  // RONDO_TOOLS_HTML_H_
