//! What the pages say, in both languages. Plain text: whoever inserts it escapes it.

use super::{Lang, NOTICE_SECONDS, Page, is_web_link};

/// The words of one kind of page.
pub(super) struct Words {
    /// The heading, without a full stop.
    pub heading: &'static str,
    /// What happened, and whose fault it isn't.
    pub happened: &'static str,
    /// What to do now; true with and without links below it.
    pub advice: String,
}

/// The words of `page` in `lang`.
pub(super) fn of(page: Page<'_>, lang: Lang) -> Words {
    match lang {
        Lang::Zh => chinese(page),
        Lang::En => english(page),
    }
}

fn chinese(page: Page<'_>) -> Words {
    match page {
        Page::NotFound => Words {
            heading: "没有找到这个网页",
            happened: "您要打开的网页不在这里。可能是网址有误，也可能是网页已经删除，或者没有搬到新网站。",
            advice: "请核对网址有没有写错或漏写。也可以在新网站上搜索网页的标题。".into(),
        },
        Page::Gone => Words {
            heading: "这个网页已经停用",
            happened: "网页已经永久下线，这个网址不会再恢复。",
            advice: "如果您收藏了这个网址，可以把它删掉。要找的内容，也许能在新网站上按标题搜索到。".into(),
        },
        Page::Notice { location } => Words {
            heading: "这个网页搬家了",
            happened: "网站已经搬迁，您要打开的网页换了新网址。",
            advice: if is_web_link(location) {
                format!("{NOTICE_SECONDS} 秒后会自动打开新网址。您也可以现在就点下面的链接。建议收藏新网址。")
            } else {
                "新网址暂时无法打开，请过一段时间再试。".into()
            },
        },
        Page::Leaving { .. } => Words {
            heading: "您将离开本网站",
            happened: "您点的链接通往另一个网站。那里的内容由它自己负责，与本网站无关。",
            advice: "请先看清下面的网址，确认是您要去的网站再打开。在那里填写个人信息要小心。".into(),
        },
        Page::Frozen => Words {
            heading: "暂时不能为您转到新网址",
            happened: "这个网址原来通往的网站可能有安全问题，我们暂停了跳转。这不是您的操作有误。",
            advice: "请过一段时间再试，或者用搜索引擎查找单位名称，到它现在的网站上看看。".into(),
        },
        Page::UnknownHost => Words {
            heading: "没有找到这个网站",
            happened: "这里没有您要打开的网站。可能是网址有误，也可能是网站已经关闭。",
            advice: "请核对网址有没有写错。也可以用搜索引擎查找单位名称，到它现在的网站上看看。".into(),
        },
        Page::NotServed => Words {
            heading: "这个网址暂时不能使用",
            happened: "这项内容由新平台提供，目前还不能从旧网址打开。这不是您的操作有误。",
            advice: "请从新网站进入，或者过些日子再试。".into(),
        },
        Page::Refused => Words {
            heading: "没有为您转到新网址",
            happened: "为这个网址登记的新网址不在允许的范围内。为了您的安全，我们没有打开它。这不是您的操作有误。",
            advice: "请从新网站的首页查找。欢迎您报告这个错误，帮助我们改正。".into(),
        },
        Page::HttpsRequired { .. } => Words {
            heading: "请用 https 打开这个网址",
            happened: "为了保护您的信息，这个网站只接受加密连接，而您的网址以 http:// 开头。这不是您的操作有误。",
            advice: "请用以 https:// 开头的网址打开，并把收藏的网址也改过来。".into(),
        },
        Page::BadRequest { .. } => Words {
            heading: "这个网址写得不对",
            happened: "网址里有无法识别的内容，所以打不开。",
            advice: "请核对网址有没有写错或漏写。如果您是点链接来的，可能是那个链接有误。".into(),
        },
        Page::Denied { .. } => Words {
            heading: "这个请求没有被受理",
            happened: "为了保护网站，这样的请求我们不受理。这往往不是您的操作有误。",
            advice: "请过一会儿再试，或者从新网站的首页查找。如果一直打不开，欢迎您报告这个错误。".into(),
        },
        Page::Unavailable => Words {
            heading: "网站暂时打不开",
            happened: "提供这个网页的服务器暂时没有应答。这不是您的操作有误。",
            advice: "请过几分钟再试，网址不用改。如果急着办事，请从新网站进入。".into(),
        },
    }
}

fn english(page: Page<'_>) -> Words {
    match page {
        Page::NotFound => Words {
            heading: "This page was not found",
            happened: "The address may be wrong, or the page was removed or did not move to the new website.",
            advice:
                "Check the address for typing errors or missing parts. You can also search for the page’s title on the new website."
                    .into(),
        },
        Page::Gone => Words {
            heading: "This page has been withdrawn",
            happened: "The page was taken down for good, and this address will not come back.",
            advice: "If you bookmarked this address, you can delete the bookmark. \
                     You may find what you need by searching for the page’s title on the new website."
                .into(),
        },
        Page::Notice { location } => Words {
            heading: "This page has moved",
            happened: "The website has moved, and the page you want has a new address.",
            advice: if is_web_link(location) {
                format!(
                    "The new address will open by itself in {NOTICE_SECONDS} seconds. \
                     You can also follow the link below now. Please bookmark the new address."
                )
            } else {
                "The new address cannot be opened for now. Please try again later.".into()
            },
        },
        Page::Leaving { .. } => Words {
            heading: "You are leaving this website",
            happened: "The link leads to another website, which answers for its own content.",
            advice: "Look at the address below first, and open it only if it is where you want to go. \
                     Take care with personal information there."
                .into(),
        },
        Page::Frozen => Words {
            heading: "We cannot send you to the new address for now",
            happened: "The website to which this address led may not be safe, so we have stopped sending people there. \
                       You did nothing wrong.",
            advice: "Please try again later, or look up the office’s name in a search engine and visit its present website."
                .into(),
        },
        Page::UnknownHost => Words {
            heading: "This website was not found",
            happened: "There is no such website here. The address may be wrong, or the website was closed.",
            advice: "Check the address for typing errors. \
                     You can also look up the office’s name in a search engine and visit its present website."
                .into(),
        },
        Page::NotServed => Words {
            heading: "This address does not work for now",
            happened: "A new platform provides this content, and it cannot be opened from the old address yet. \
                       You did nothing wrong.",
            advice: "Please go to the new website, or try again in a few days.".into(),
        },
        Page::Refused => Words {
            heading: "We did not send you to the new address",
            happened: "The new address on record for this page is not an allowed one. \
                       For your safety we did not open it. You did nothing wrong.",
            advice: "Please start from the home page of the new website. If you report this error, you help us to correct it."
                .into(),
        },
        Page::HttpsRequired { .. } => Words {
            heading: "Please open this address with https",
            happened: "To protect your information, this website accepts encrypted connections only, \
                       and your address begins with http://. You did nothing wrong.",
            advice: "Open the address that begins with https://, and change your bookmark if you have one.".into(),
        },
        Page::BadRequest { .. } => Words {
            heading: "This address is not valid",
            happened: "The address has something in it that cannot be understood, so it cannot be opened.",
            advice: "Check the address for typing errors or missing parts. If you followed a link, the link may be wrong.".into(),
        },
        Page::Denied { .. } => Words {
            heading: "This request was not accepted",
            happened: "To protect the website, requests like this one are not accepted. It is often no mistake of yours.",
            advice: "Try again in a while, or start from the home page of the new website. \
                     If it goes on like this, please report the error."
                .into(),
        },
        Page::Unavailable => Words {
            heading: "This website cannot be opened for now",
            happened: "The server that has this page does not answer for now. You did nothing wrong.",
            advice: "Please try again in a few minutes, with the same address. If it is urgent, go to the new website.".into(),
        },
    }
}

/// The words that every kind of page shares.
pub(super) struct Labels {
    pub asked: &'static str,
    pub detail: &'static str,
    /// Before the host that a link leaves for.
    pub leads_to: &'static str,
    pub advice_heading: &'static str,
    pub new: &'static str,
    pub secure: &'static str,
    pub suggest: &'static str,
    pub home: &'static str,
    pub archive: &'static str,
    pub report: &'static str,
    /// Before the site identification code, colon included.
    pub code: &'static str,
    /// Ends a heading that stands in running text.
    pub stop: &'static str,
}

/// The shared words in `lang`.
pub(super) fn labels(lang: Lang) -> &'static Labels {
    match lang {
        Lang::Zh => &Labels {
            asked: "您要打开的网址：",
            detail: "技术说明：",
            leads_to: "您要去的网站：",
            advice_heading: "您可以这样做",
            new: "打开新网址",
            secure: "用 https 打开",
            suggest: "看看这个网页有没有您要的内容",
            home: "打开新网站的首页",
            archive: "查看旧网页的存档",
            report: "报告网页错误",
            code: "网站标识码：",
            stop: "。",
        },
        Lang::En => &Labels {
            asked: "The address you asked for:",
            detail: "Technical detail: ",
            leads_to: "The website that you are going to: ",
            advice_heading: "What you can do",
            new: "Open the new address",
            secure: "Open with https",
            suggest: "See whether this page has what you need",
            home: "Go to the home page of the new website",
            archive: "See an archived copy of the old page",
            report: "Report this error",
            code: "Site identification code: ",
            stop: ". ",
        },
    }
}
