#include "tools/html.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/text.h"

namespace rondo {
namespace {

constexpr char kStyle[] = R"(
:root{color-scheme:light dark;--line:#8886;--good:#1a7f37;--bad:#cf222e;--none:#9a6700}
@media(prefers-color-scheme:dark){:root{--good:#3fb950;--bad:#f85149;--none:#d29922}}
body{font:15px/1.45 system-ui,sans-serif;margin:1.5rem auto;max-width:76rem;padding:0 1rem}
h1{margin:0 0 .5rem;font-size:1.5rem}h2{margin:1.8rem 0 .5rem;font-size:1.15rem}
table{border-collapse:collapse;width:100%}th,td{padding:.25rem .6rem;text-align:left;vertical-align:top;
border-bottom:1px solid var(--line);overflow-wrap:anywhere}
th{cursor:pointer;position:sticky;top:0;background:Canvas;white-space:nowrap;user-select:none}
th::after{content:"\2195";opacity:.35;padding-left:.3em}th.up::after{content:"\2191";opacity:1}
th.down::after{content:"\2193";opacity:1}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.wide td,.wide th{overflow-wrap:break-word}
@media(max-width:78rem){.wide{overflow-x:auto}.wide th{position:static;white-space:normal}}
.good{color:var(--good)}.bad{color:var(--bad);font-weight:600}.none{color:var(--none);font-weight:600}
)";

constexpr char kTableScript[] = R"(<script>
for (const table of document.querySelectorAll('table')) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.addEventListener('click', () => {
    const down = head.classList.contains('up');
    heads.forEach(h => h.classList.remove('up', 'down'));
    head.classList.add(down ? 'down' : 'up');
    const key = row => row.cells[column].dataset.sort ?? row.cells[column].textContent;
    const order = (a, b) => {
      const x = key(a), y = key(b);
      return x !== '' && y !== '' && !isNaN(x) && !isNaN(y) ? x - y : x.localeCompare(y, 'en', {numeric: true});
    };
    const rows = [...body.rows].sort(order);
    body.append(...(down ? rows.reverse() : rows));
  }));
}
</script>
)";

}  // namespace

std::string Markup(absl::string_view text) {
  std::string out;
  for (char c : Printable(text, 4000)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string HtmlHead(absl::string_view title, absl::string_view style) {
  return absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width\">\n<title>",
      Markup(title), "</title>\n<style>", kStyle, style, "</style></head><body>\n");
}

std::string HtmlTableScript() { return kTableScript; }

HtmlCell::HtmlCell(std::string text, double key) : markup(std::move(text)), sort(absl::StrFormat("%.9g", key)) {}

std::string HtmlTable(absl::string_view id, const std::vector<std::string>& header, absl::string_view alignment,
                      const std::vector<std::vector<HtmlCell>>& rows) {
  const auto number = [&](size_t column) { return column < alignment.size() && alignment[column] == 'r'; };
  std::string html = absl::StrCat("<div class=\"wide\"><table id=\"", id, "\"><thead><tr>");
  for (size_t i = 0; i < header.size(); ++i) {
    absl::StrAppend(&html, number(i) ? "<th class=\"n\">" : "<th>", Markup(header[i]), "</th>");
  }
  html += "</tr></thead><tbody>\n";
  for (const std::vector<HtmlCell>& row : rows) {
    html += "<tr>";
    for (size_t i = 0; i < row.size(); ++i) {
      html += "<td";
      if (number(i)) html += " class=\"n\"";
      if (!row[i].sort.empty()) absl::StrAppend(&html, " data-sort=\"", row[i].sort, "\"");
      absl::StrAppend(&html, ">", row[i].markup, "</td>");
    }
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

}  // namespace rondo
